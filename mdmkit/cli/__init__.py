"""The command line. `main` is the click group."""

from mdmkit.cli.main import main

__all__ = ["main"]
