"""Which parts are installed, and which distribution brings each."""
