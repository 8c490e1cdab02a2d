"""The particles of a search as rows of a larger canvas."""

from __future__ import annotations

from dataclasses import replace

import torch

from mdmkit import noise
from mdmkit.canvas.canvas import Canvas


def expand(canvas: Canvas, particles: int) -> Canvas:
    """Repeat every row P times. The first particle has the row's seed, so P = 1 gives the same as no search."""
    if particles == 1:
        return canvas
    rows = torch.arange(len(canvas.seed), device=canvas.seed.device).repeat_interleave(particles)
    number = torch.arange(particles, device=rows.device).repeat(len(canvas.seed))
    own = canvas.seed[rows]
    seed = torch.where(number == 0, own, noise.splitmix64(own ^ noise.splitmix64(number)))
    return replace(canvas.at(rows), seed=seed)
