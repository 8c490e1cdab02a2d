"""Resampling: which particle each one continues, from the weights of a row's particles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mdmkit import noise

if TYPE_CHECKING:
    from torch import Tensor

METHODS = ("systematic", "multinomial")


def resample(weights: Tensor, method: str, seed: Tensor, tick: Tensor) -> Tensor:
    """Draw P ancestors per row: float64 weights [B, P], any scale above 0 -> int64 [B, P] from 0 to P − 1.

    `systematic` lays P evenly spaced points, moved by one uniform number, over the cumulative weights: particle i is
    drawn ⌊P·w_i⌋ or ⌈P·w_i⌉ times, so that equal weights change nothing. `multinomial` draws P times independently.

    The numbers are counter-based, of int64 seed [B] and tick [B], so a row's ancestors are its own affair.
    """
    particles = weights.shape[1]
    draws = 1 if method == "systematic" else particles
    uniform = noise.uniform(seed, tick, "resample", draws, torch.zeros_like(tick)[:, None])[..., 0]
    if method == "systematic":
        uniform = (torch.arange(particles, device=weights.device) + uniform) / particles
    ladder = weights.cumsum(1)
    return torch.searchsorted(ladder, uniform * ladder[:, -1:], right=True).clamp_max(particles - 1)
