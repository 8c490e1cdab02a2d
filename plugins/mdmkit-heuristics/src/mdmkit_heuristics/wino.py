"""WINO: fill many positions, and reopen those that the tokens around them no longer support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from mdmkit import Actions, MdmkitError, ops
from mdmkit_heuristics.block import editable
from mdmkit_heuristics.remask import remasked
from mdmkit_heuristics.shares import check_shares

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Canvas, Step


@dataclass(frozen=True)
class WinoFill:
    """Fill every open position whose token is more probable than `threshold`, within a bound (WINO, arXiv:2507.18578).

    Of m open positions at most ⌊share · m⌋ are filled, but this bound is never below `least` nor above `most`. If no
    position is sure enough, the best is filled. The plan's steps are not read.

    Args:
        threshold: probability, exclusive; low, because the commit `wino` reopens what turns out wrong.
        share: of the open positions.
        least: positions.
        most: positions.
    """

    threshold: float = 0.6
    share: float = 0.7
    least: int = 5
    most: int = 20

    def __post_init__(self) -> None:
        check_shares("select wino", self, "threshold", "share")
        if not 1 <= self.least <= self.most:
            raise MdmkitError(f"select wino: least={self.least}, most={self.most}: 1 ≤ least ≤ most is needed.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        sure = step.open & (step.confidence > self.threshold)
        bound = torch.floor(step.open.sum(1).double() * self.share + 1e-9).long().clamp(self.least, self.most)
        best = ops.top(scores, step.open, step.quota.clamp_max(1))
        place = torch.where(sure.any(1, keepdim=True), ops.top(scores, sure, bound), best)
        return Actions.single(place, step.tokens)


@dataclass(frozen=True)
class WinoVerify:
    """Reopen written positions of the block whose token their shadow finds less probable than `threshold` (WINO).

    arXiv:2507.18578: the shadow of a position sees all tokens of the row but the position's own, and the shadows of the
    block. A step that fills only one position reopens none. Otherwise it reopens fewer than the step before has filled,
    the least probable first. So a block takes at most as many steps as it has positions.

    Args:
        threshold: probability, exclusive.
    """

    rewrites: ClassVar[bool] = True
    only_reopens: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("shadow_block",)

    threshold: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise MdmkitError(f"commit wino: threshold={self.threshold}: it is a probability, from 0 to 1.")

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        filled = actions.take(choice)[0].sum(1)
        before = step.recall("wino.filled", until="block")
        step.keep("wino.filled", filled)
        sure = step.shadow.probability(step.window(step.canvas.tokens))
        doubted = editable(step) & ~step.open & (sure < self.threshold) & (filled > 1)[:, None]
        return remasked(step, actions, choice, ops.top(-sure, doubted, (before - 1).clamp_min(0)))
