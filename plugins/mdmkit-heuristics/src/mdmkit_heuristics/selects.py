"""Selects: one action per row from the scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdmkit import Actions, MdmkitError, noise, ops
from mdmkit_heuristics.ranking import check_frontier

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


@dataclass(frozen=True)
class TopK:
    """Fill the best open positions, as many as the quota.

    Args:
        temperature: of the Gumbel noise on the scores (MaskGIT's position randomness): the positions are then drawn
            without replacement from softmax(score / temperature). 0: the best positions are filled.
        frontier: w, if only the w leftmost open positions may be filled; null: all.
    """

    temperature: float = 0.0
    frontier: int | None = None

    def __post_init__(self) -> None:
        check_frontier("top_k", self.frontier)
        if not 0 <= self.temperature < math.inf:
            raise MdmkitError(f"select top_k: temperature={self.temperature}: it must be 0 or more.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        if self.temperature > 0:
            scores = scores + self.temperature * noise.gumbel(step.noise("top_k", 1)[:, 0])
        return Actions.single(ops.top(scores, step.leftmost(self.frontier), step.quota), step.tokens)


@dataclass(frozen=True)
class Threshold:
    """Fill every open position whose token is at least this probable, always the best (Fast-dLLM, arXiv:2505.22618).

    The scores decide which position is the best; the plan's steps are not read.

    Args:
        threshold: probability.
        frontier: w, if only the w leftmost open positions may be filled; null: all.
    """

    threshold: float = 0.9
    frontier: int | None = None

    def __post_init__(self) -> None:
        check_frontier("threshold", self.frontier)
        if not 0 <= self.threshold <= 1:
            raise MdmkitError(f"select threshold: threshold={self.threshold}: it is a probability, from 0 to 1.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        eligible = step.leftmost(self.frontier)
        best = ops.top(scores, eligible, step.quota.clamp_max(1))
        return Actions.single(best | (eligible & (step.confidence >= self.threshold)), step.tokens)
