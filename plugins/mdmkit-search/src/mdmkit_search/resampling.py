"""Resampling: choose which particle each particle continues, from their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mdmkit import noise

if TYPE_CHECKING:
    from torch import Tensor

METHODS = ("systematic", "multinomial")


def resample(weights: Tensor, method: str, seed: Tensor, tick: Tensor) -> Tensor:
    """Draw P ancestors per row: float64 weights [B, P], of any scale above 0 -> int64 [B, P] from 0 to P − 1.

    `systematic` lays P evenly spaced points, moved by one uniform number, over the cumulative weights: particle i is
    drawn ⌊P·w_i⌋ or ⌈P·w_i⌉ times, so equal weights change nothing. `multinomial` draws P times independently.

    The random numbers depend on seed and tick, int64 [B], so a row's ancestors do not depend on other rows.
    """
    particles = weights.shape[1]
    draws = 1 if method == "systematic" else particles
    uniform = noise.uniform(seed, tick, "resample", draws, torch.zeros_like(tick)[:, None])[..., 0]
    if method == "systematic":
        uniform = (torch.arange(particles, device=weights.device) + uniform) / particles
    ladder = weights.cumsum(1)
    return torch.searchsorted(ladder, uniform * ladder[:, -1:], right=True).clamp_max(particles - 1)
