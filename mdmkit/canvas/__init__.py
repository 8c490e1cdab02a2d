"""Prompts, the canvas that is filled, the trace, and finished rows."""

from mdmkit._moved import names_of

__getattr__ = names_of("canvas")
