"""Many prompts through one sampler."""

from mdmkit._moved import names_of

__getattr__ = names_of("decoding")
