"""The version of the core, where no other module of it is needed to read it."""

__version__ = "0.1.0"
