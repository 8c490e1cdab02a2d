"""Scores that come from image models: a fixed order that spreads over the grid, and confidence with annealed noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from mdmkit import MdmkitError, noise

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step

# Bits of a position that are reversed without a grid: the number of bits of the longest row.
BITS = 20


@dataclass(frozen=True)
class Halton:
    """Cells in the order of a 2-D Halton sequence of bases 2 and 3 (Halton-MaskGIT, arXiv:2503.17076).

    Cells that are filled together are far apart, so they depend little on each other. The model's belief is not read.
    On a canvas without a grid, positions come in van der Corput's order: their binary digits are reversed.

    Args:
        roll: begin at another point of the sequence in each row, by its seed.
    """

    roll: bool = False

    def __call__(self, step: Step) -> Tensor:
        if step.canvas.grid is None:
            place, size = _reversed(step.position), 1 << BITS
        else:
            size = step.canvas.grid[0] * step.canvas.grid[1]
            # A window may be wider than the grid, if another row's window is wider.
            place = halton_rank(*step.canvas.grid).to(step.position.device)[step.position.clamp_max(size - 1)]
        if self.roll:
            start = torch.zeros_like(step.canvas.seed)
            chance = noise.uniform(step.canvas.seed, start, "halton", 1, start[:, None])[:, 0]
            place = (place + (chance * size).long()) % size
        return -place.float()


@dataclass(frozen=True)
class MaskGit:
    """Log-probability of the token that would be written, and Gumbel noise that fades (MaskGIT, arXiv:2202.04200).

    score = ln p + τ · (1 − (t + 1)/T) · G in step t of T, so that the last step is without noise; T is `plan.steps`,
    and without it the share of the row that is still open takes the place of the steps that are left.

    Args:
        temperature: τ. MaskGIT uses 4.5, aMUSEd (arXiv:2401.01808) 2.
    """

    temperature: float = 4.5

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise MdmkitError(f"score maskgit: temperature={self.temperature}: it must be a number from 0 up.")

    def __call__(self, step: Step) -> Tensor:
        if step.plan.steps is not None:
            left = (1 - (step.taken + 1) / step.plan.steps).clamp_min(0)
        else:
            left = step.canvas.open.sum(1) / step.canvas.editable.sum(1).clamp_min(1)
        gumbel = noise.gumbel(step.noise("maskgit", 1)[:, 0])
        return step.confidence.clamp_min(1e-30).log() + (self.temperature * left[:, None] * gumbel).float()


@lru_cache(maxsize=32)
def halton_rank(height: int, width: int) -> Tensor:
    """The rank at which the sequence, from point 1 on, first reaches each cell: int64 [height · width], row by row."""
    cells = height * width
    rank, met, point = [-1] * cells, 0, 0
    while met < cells:
        point += 1
        cell = int(_inverse(point, 3) * height) * width + int(_inverse(point, 2) * width)
        if rank[cell] < 0:
            rank[cell], met = met, met + 1
    return torch.tensor(rank)


def _inverse(number: int, base: int) -> float:
    """The radical inverse: a number's digits mirrored at the point."""
    value, weight = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        weight /= base
        value += digit * weight
    return value


def _reversed(position: Tensor) -> Tensor:
    bits = torch.arange(BITS, device=position.device)
    digits = (position[..., None] >> bits) & 1
    return (digits << (BITS - 1 - bits)).sum(-1)
