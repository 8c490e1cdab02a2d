"""What is asked for, what is being filled, and what came of it."""

from mdmkit._moved import names_of

__getattr__ = names_of("canvas")
