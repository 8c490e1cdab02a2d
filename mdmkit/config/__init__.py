"""From YAML, `--set` and Python keywords to a sampler."""

from mdmkit._moved import names_of

__getattr__ = names_of("config")
