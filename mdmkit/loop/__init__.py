"""How a masked diffusion model is decoded. Read `loop.py` first."""

from mdmkit._gone import names_gone

__getattr__ = names_gone("loop")
