"""Which parts are installed, and who brought them."""
