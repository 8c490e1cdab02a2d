"""Selects that depend on distances between positions: relaxed around anchors, dilated, spaced."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from mdmkit import Actions, MdmkitError, ops
from mdmkit_heuristics.block import length, near, offset

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


@dataclass(frozen=True)
class LocalLeap:
    """Fill every open position at or above `threshold`, and at or above `relaxed` near one; always the best.

    LocalLeap, arXiv:2510.07081: the open positions at or above `threshold` are the anchors. The plan's steps are not
    read.

    Args:
        threshold: probability of an anchor.
        relaxed: the lower threshold, for positions at most `radius` from an anchor.
        radius: positions.
    """

    threshold: float = 0.9
    relaxed: float = 0.75
    radius: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.relaxed <= self.threshold <= 1:
            raise MdmkitError(
                f"select local_leap: threshold={self.threshold}, relaxed={self.relaxed}: they are probabilities, and "
                "relaxed is at most threshold."
            )
        if self.radius < 0:
            raise MdmkitError(f"select local_leap: radius={self.radius}: it is a number of positions, from 0 up.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        best = ops.top(scores, step.open, step.quota.clamp_max(1))
        anchor = step.open & (step.confidence >= self.threshold)
        leap = step.open & near(anchor, self.radius) & (step.confidence >= self.relaxed)
        return Actions.single(best | anchor | leap, step.tokens)


@dataclass(frozen=True)
class Dilated:
    """Fill the open positions at multiples of a stride that shrinks from step to step (DUS).

    arXiv:2506.19037: step t of a block of B positions, counted from its start, fills those at multiples of
    max(1, ⌊B / baseᵗ⌋): ⌈log B⌉ steps instead of B, and no two neighbours in one step before the last. A step with
    nothing to fill is skipped. Neither the scores nor the plan's steps are read; set plan.block.

    Args:
        base: a, by which the stride shrinks.
    """

    base: int = 2

    def __post_init__(self) -> None:
        if self.base < 2:
            raise MdmkitError(
                f"select dilated: base={self.base}: the stride is divided by it, so it must be at least 2."
            )

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        size, place = length(step), offset(step)
        rounds = max(1, math.ceil(math.log(max(2, step.width), self.base)))
        divisor = self.base ** torch.arange(1, rounds + 1, device=step.open.device)
        # A block narrower than the window reaches stride 1 earlier; repeating it changes nothing.
        stride = (size[:, None] // divisor).clamp_min(1)
        on_stride = step.open[:, None] & (place[:, None] % stride[..., None] == 0)
        first = on_stride.any(-1).long().argmax(-1)
        chosen = on_stride.gather(1, first[:, None, None].expand(-1, 1, step.width))[:, 0]
        return Actions.single(chosen, step.tokens)


@dataclass(frozen=True)
class Spaced:
    """Fill the best positions of which no two are closer than `gap` + 1; at most as many as the quota.

    The spacing of DUS (arXiv:2506.19037) as a filter over any ranking, because neighbours depend on each other most.
    Positions are taken from the best down, and each excludes its neighbours for this step. A deficit is carried over.

    Args:
        gap: positions that stay open between two that are filled in one step.
        threshold: except for the best, fill no position below this probability; 0: only the quota counts.
    """

    gap: int = 1
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.gap < 1:
            raise MdmkitError(f"select spaced: gap={self.gap}: it must be at least 1. For no gap, use select top_k.")
        if not 0 <= self.threshold <= 1:
            raise MdmkitError(f"select spaced: threshold={self.threshold}: it is a probability, from 0 to 1.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        best = ops.top(scores, step.open, step.quota.clamp_max(1))
        alive = step.open & ((step.confidence >= self.threshold) | best)
        ranked = scores.clamp_min(torch.finfo(scores.dtype).min).masked_fill(~alive, -torch.inf)
        order = ranked.argsort(dim=-1, descending=True, stable=True)
        number = torch.arange(step.width, 0, -1, device=order.device, dtype=torch.float)
        worth = torch.zeros(order.shape, device=order.device).scatter(-1, order, number.expand(order.shape))
        place = torch.zeros_like(alive)
        # A position that is better than all its remaining neighbours is also taken by the greedy pass. So one round
        # takes all such positions, at least one per row, and this many rounds are enough.
        for _ in range(math.ceil(step.width / (self.gap + 1))):
            now = worth.masked_fill(~alive, -1.0)
            peak = functional.max_pool1d(now[:, None], 2 * self.gap + 1, stride=1, padding=self.gap)[:, 0]
            chosen = alive & (now == peak)
            place = place | chosen
            alive = alive & ~near(chosen, self.gap)
        return Actions.single(ops.top(scores, place, step.quota), step.tokens)
