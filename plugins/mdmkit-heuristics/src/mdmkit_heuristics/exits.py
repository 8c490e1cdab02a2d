"""Stop rules: end a row once its open positions are sure enough for how much of it is filled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


@dataclass(frozen=True)
class Prophet:
    """Fill all at once if the mean margin is at least `early`, `middle` or `late`: a threshold per third of the row.

    Prophet, arXiv:2508.19982. The margin of an open position is ln p₁ − ln p₂, the difference of its two largest
    logits. The thirds are those of the row's positions that are filled. The rule is asked in the row's last block
    only, because the model's predictions for later blocks are not computed.

    Args:
        early: nats; while less than a third is filled.
        middle: nats; while less than two thirds are filled.
        late: nats.
    """

    fill: ClassVar[Literal["best"]] = "best"

    early: float = 7.5
    middle: float = 5.0
    late: float = 2.5

    def __post_init__(self) -> None:
        for name in ("early", "middle", "late"):
            _check("prophet", name, getattr(self, name))

    def __call__(self, step: Step) -> Tensor:
        left, whole = _open_and_all(step)
        filled = whole - left
        # In whole numbers, so that a third is a third.
        margin = torch.where(
            3 * filled < whole, self.early, torch.where(3 * filled < 2 * whole, self.middle, self.late)
        )
        return _sure(step, left, margin)


@dataclass(frozen=True)
class Sched:
    """Fill all at once if the mean margin is at least a threshold that falls from `high` to `low` (SchED).

    arXiv:2512.02892. The margin is as in Prophet, p is the share of the row's positions that are filled, and the
    threshold is low + (high − low) · f(p) with f one of: `linear`, 1 − p; `cosine`, (1 + cos πp) / 2; `exponential`,
    exp(−rate · p). The rule is asked in the row's last block only, as Prophet is.

    Args:
        high: nats.
        low: nats.
        curve: `linear`, `cosine` or `exponential`.
        rate: of the curve `exponential`; the paper tries 2 to 16.
    """

    fill: ClassVar[Literal["best"]] = "best"

    high: float = 7.5
    low: float = 2.5
    curve: Literal["linear", "cosine", "exponential"] = "cosine"
    rate: float = 4.0

    def __post_init__(self) -> None:
        _check("sched", "low", self.low)
        _check("sched", "rate", self.rate)
        if self.curve not in ("linear", "cosine", "exponential"):
            raise MdmkitError(f"stop sched: curve={self.curve!r}: it is linear, cosine or exponential.")
        if not self.low <= self.high < math.inf:
            raise MdmkitError(f"stop sched: high={self.high}, low={self.low}: the threshold falls from high to low.")

    def __call__(self, step: Step) -> Tensor:
        left, whole = _open_and_all(step)
        p = 1 - left / whole.clamp_min(1)
        if self.curve == "linear":
            share = 1 - p
        elif self.curve == "cosine":
            share = (1 + (math.pi * p).cos()) / 2
        else:
            share = (-self.rate * p).exp()
        return _sure(step, left, self.low + (self.high - self.low) * share)


def _check(stop: str, name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise MdmkitError(f"stop {stop}: {name}={value}: it must be a number from 0 up.")


def _open_and_all(step: Step) -> tuple[Tensor, Tensor]:
    """Open positions of each row, and all that decoding fills, int64 [B]."""
    canvas = step.canvas
    return (canvas.open & canvas.valid).sum(1), (canvas.editable & canvas.valid).sum(1)


def _sure(step: Step, left: Tensor, margin: Tensor) -> Tensor:
    """bool [B]: the mean margin of the open positions is at least `margin`, [B], and all are in the row's block."""
    first, second = step.belief.top2.unbind(-1)
    count = step.open.sum(1)
    mean = torch.where(step.open, first.log() - second.log(), 0).sum(1) / count.clamp_min(1)
    return (count > 0) & (count == left) & (mean >= margin)
