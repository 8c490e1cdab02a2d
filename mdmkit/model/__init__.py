"""What a model offers, what it may remember, and how it is found."""

from mdmkit._moved import names_of

__getattr__ = names_of("model")
