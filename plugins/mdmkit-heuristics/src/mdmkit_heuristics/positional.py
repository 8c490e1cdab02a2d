"""Scores that depend on the position in the row, and on how common its token is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import MdmkitError
from mdmkit_heuristics.frequency import check, log_frequency, on_device
from mdmkit_heuristics.shares import check_shares

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Backbone, Step


def _place(step: Step) -> tuple[Tensor, Tensor]:
    """Positions counted from the row's first editable one, float [B, W], and the length from there, [B, 1].

    They are counted in the row, not in the block, because a bias towards the start must not begin again in each block.
    """
    canvas = step.canvas
    positions, last = canvas.positions, torch.iinfo(torch.int64).max
    first = torch.where(canvas.editable, positions, last).amin(-1, keepdim=True)
    end = torch.where(canvas.editable, positions, -1).amax(-1, keepdim=True)
    first = first.clamp_max(positions.shape[1])
    return (step.position - first).float(), (end - first + 1).clamp_min(1).float()


def _rarity(step: Step, table: str, clip: float) -> Tensor:
    """min(clip, −c · ln f(v)): how rare a confident token is, float [B, W]."""
    return (-step.confidence * on_device(table, step)[step.tokens]).clamp_max(clip)


def _check_clip(name: str, clip: float) -> None:
    if not 0 < clip < math.inf:
        raise MdmkitError(f"score {name}: clip={clip}: it must be above 0.")


@dataclass(frozen=True)
class PC:
    """Position-aware confidence calibration (PC-Sampler, arXiv:2508.13021): e^(−decay · i) · min(clip, −c · ln f(v)).

    i is the position after the prompt, c the probability of the token v that would be written, f its share of a corpus
    (a token that never occurs counts as one occurrence). The minus sign is not in the paper, but in its code.

    Args:
        table: a table that `mdmkit corpus build` wrote, or the name of a table of this package.
        decay: λ. The authors' scripts use 0.25, and 0 for Sudoku, 1 for Countdown.
        clip: α.
    """

    table: str = "web"
    decay: float = 0.25
    clip: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.decay < math.inf:
            raise MdmkitError(f"score pc: decay={self.decay}: it must be a number from 0 up.")
        _check_clip("pc", self.clip)
        log_frequency(self.table)

    def fits(self, backbone: Backbone) -> None:
        """Refuse a table that was counted with another tokenizer."""
        check(self.table, backbone)

    def __call__(self, step: Step) -> Tensor:
        place, _ = _place(step)
        return (-self.decay * place).exp() * _rarity(step, self.table, self.clip)


@dataclass(frozen=True)
class LinearPosition:
    """(1 − weight) · c′ + weight · (L − i)/L: confidence and position (`linear_position` of PC-Sampler's code).

    c′ is the confidence, scaled to 0 … 1 over the open positions; with a table it is first calibrated as in `pc`. i is
    the position after the prompt, L the length from there (arXiv:2508.13021).

    Args:
        weight: λ, from 0 (confidence alone) to 1 (left to right).
        table: as in `pc`; null: the confidence is not calibrated.
        clip: as in `pc`.
    """

    weight: float = 0.5
    table: str | None = None
    clip: float = 10.0

    def __post_init__(self) -> None:
        check_shares("score linear_position", self, "weight")
        _check_clip("linear_position", self.clip)
        if self.table is not None:
            log_frequency(self.table)

    def fits(self, backbone: Backbone) -> None:
        """Refuse a table that was counted with another tokenizer."""
        if self.table is not None:
            check(self.table, backbone)

    def __call__(self, step: Step) -> Tensor:
        sure = step.confidence if self.table is None else _rarity(step, self.table, self.clip)
        low = sure.masked_fill(~step.open, torch.inf).amin(-1, keepdim=True)
        high = sure.masked_fill(~step.open, -torch.inf).amax(-1, keepdim=True)
        scaled = ((sure - low) / (high - low).clamp_min(torch.finfo(sure.dtype).tiny)).nan_to_num()
        place, size = _place(step)
        return (1 - self.weight) * scaled + self.weight * (size - place) / size
