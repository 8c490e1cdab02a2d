"""What a model offers, what it stores between forwards, and how it is found and loaded."""

from mdmkit._moved import names_of

__getattr__ = names_of("model")
