"""How a masked diffusion model is decoded. Read `loop.py` first."""
