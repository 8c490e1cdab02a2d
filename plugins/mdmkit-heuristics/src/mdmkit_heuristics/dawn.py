"""DAWN: fill many positions at once, but none that depend on one another; attention says which do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from mdmkit import Actions, ops
from mdmkit_heuristics.shares import check_shares

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


@dataclass(frozen=True)
class Dawn:
    """Fill sure positions, less sure ones that depend on sure tokens, and others that are independent (DAWN).

    arXiv:2602.06953. Position i depends on column j if its attention to j is at least `edge`; attention is the mean
    over all heads of the model's last layers. Attention of a position to itself does not count, nor does attention to a
    sink: a column to which the positions of the block attend more than `sink` on average. Three kinds of open positions
    are filled:

    1. those whose token is at least as probable as `high`;
    2. those of at least `induced` that depend on an anchor: on a token of the prompt, or on one that was itself written
       with a probability of at least `high`;
    3. of those of at least `low` that neither depend on a position of the first two kinds nor the other way round: the
       most probable, then the most probable of those for which this holds with it too, and so on.

    If there are none, the most probable position is filled. Neither the scores nor the plan's steps are read.

    Args:
        high, induced, low: probabilities, inclusive.
        edge, sink: attention, from 0 to 1; `edge` inclusive.
    """

    reads: ClassVar[tuple[str, ...]] = ("attention",)

    high: float = 0.9
    induced: float = 0.7
    low: float = 0.75
    edge: float = 0.07
    sink: float = 0.01

    def __post_init__(self) -> None:
        check_shares("select dawn", self, "high", "induced", "low", "edge", "sink")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        sure, depends = step.confidence, self._dependences(step)
        doubted = step.recall("dawn.doubted", like="column", fill=False)
        anchors = step.canvas.valid & ~step.canvas.open & ~doubted
        induced = (depends & anchors[:, None]).any(2)
        place = step.open & ((sure >= self.high) | (induced & (sure >= self.induced)))
        inside = step.window(depends.transpose(1, 2)).transpose(1, 2)  # [B, W, W]
        apart = inside | inside.transpose(1, 2)
        others = step.open & (sure >= self.low) & ~place & ~(apart & place[:, None]).any(2)
        place = place | independent(others, sure, apart)
        best = ops.top(sure, step.open, step.quota.clamp_max(1))
        place = torch.where(place.any(1, keepdim=True), place, best)
        new = step.spread(place)
        step.keep("dawn.doubted", (doubted & ~new) | step.spread(place & (sure < self.high)))
        return Actions.single(place, step.tokens)

    def _dependences(self, step: Step) -> Tensor:
        """bool [B, W, T]: whether each position of the window depends on each column of its row."""
        assert step.extra is not None  # `reads`
        weights, member = step.extra["attention"], step.member
        received = torch.where(member[..., None], weights, 0).sum(1) / member.sum(1, keepdim=True).clamp_min(1)
        itself = step.position[..., None] == torch.arange(weights.shape[2], device=weights.device)
        return (weights >= self.edge) & (received <= self.sink)[:, None] & ~itself


def independent(eligible: Tensor, value: Tensor, apart: Tensor) -> Tensor:
    """Choose eligible positions, the largest value first, that are not apart from one chosen before: bool [B, W].

    The first position wins a tie.

    Args:
        eligible: bool [B, W].
        value: [B, W].
        apart: bool [B, W, W], symmetric; pairs that may not both be chosen.
    """
    order = value.argsort(dim=1, descending=True, stable=True)
    free = eligible.gather(1, order)
    ranked = apart.gather(1, order[..., None].expand_as(apart)).gather(2, order[:, None].expand_as(apart))
    for rank in range(value.shape[1] - 1):
        taken = free[:, rank : rank + 1]
        later = free[:, rank + 1 :] & ~(ranked[:, rank, rank + 1 :] & taken)
        free = torch.cat((free[:, : rank + 1], later), 1)
    return torch.zeros_like(eligible).scatter(1, order, free)
