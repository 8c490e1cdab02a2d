"""Selects that fill as many of the best positions as a bound on the joint error allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdmkit import Actions, MdmkitError, ops
from mdmkit_heuristics.ranking import Ranking, check_frontier

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


@dataclass(frozen=True)
class EntropyBound:
    """Fill the longest run U of the best positions with Σ_U H − max_U H ≤ gamma, always the best (EB-Sampler).

    arXiv:2505.24857: the left side bounds the error of drawing the tokens of U independently. The scores are the
    paper's error proxy: entropy, confidence or margin. The plan's steps are not read.

    Args:
        gamma: nats. The paper tries 0.001 to 1.
        frontier: w, if only the w leftmost open positions may be filled; null: all.
    """

    gamma: float = 0.1
    frontier: int | None = None

    def __post_init__(self) -> None:
        check_frontier("entropy_bound", self.frontier)
        if not 0 <= self.gamma < math.inf:
            raise MdmkitError(f"select entropy_bound: gamma={self.gamma}: it is in nats, from 0 up.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        ranking = Ranking.of(scores, step.leftmost(self.frontier))
        entropy = ranking.sorted(step.belief.entropy)
        within = entropy.cumsum(-1) - entropy.cummax(-1).values <= self.gamma
        return Actions.single(ranking.first(within), step.tokens)


@dataclass(frozen=True)
class Factor:
    """Fill the n best positions as long as the n-th has (n + 1) · (1 − confidence) ≤ factor, always the best.

    Fast-dLLM's parallel decoding with a factor (arXiv:2505.22618). The paper ranks positions by confidence; here the
    scores rank them. The plan's steps are not read.

    Args:
        factor: the bound. Below 0, each step fills one position.
        last: True: if all positions but the last pass, fill the last too, whatever its confidence, as the authors' code
            does.
        frontier: w, if only the w leftmost open positions may be filled; null: all.
    """

    factor: float = 1.0
    last: bool = False
    frontier: int | None = None

    def __post_init__(self) -> None:
        check_frontier("factor", self.frontier)
        if not math.isfinite(self.factor):
            raise MdmkitError(f"select factor: factor={self.factor}: it must be a finite number; the authors' is 1.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        ranking = Ranking.of(scores, step.leftmost(self.frontier))
        sure = ranking.sorted(step.confidence) >= 1 - self.factor / (ranking.number + 1)
        if self.last:
            sure = sure | (ranking.number == ranking.open.sum(-1, keepdim=True))
        return Actions.single(ranking.first(sure), step.tokens)


@dataclass(frozen=True)
class Frechet:
    """Fill the n best positions as long as L − U > margin, always the best (Fast-dLLM++, arXiv:2606.02955).

    c are the n confidences. However the tokens depend on one another, the probability of all n together is at least
    L = Σ c − (n − 1), Fréchet's lower bound. That of any other n tokens is at most U = 1 − min c. So if L > U, no other
    n tokens are more probable together. If all confidences are equal, n is that of the select `factor` with factor =
    1 − margin. The paper ranks positions by confidence; here the scores rank them. The plan's steps are not read.

    Args:
        margin: from 1 up, each step fills one position. The paper reports 0.02 to 0.3, by the task.
        frontier: w, if only the w leftmost open positions may be filled; null: all.
    """

    margin: float = 0.25
    frontier: int | None = None

    def __post_init__(self) -> None:
        check_frontier("frechet", self.frontier)
        if not math.isfinite(self.margin):
            raise MdmkitError(
                f"select frechet: margin={self.margin}: it must be a finite number; the paper's are 0.02 to 0.3."
            )

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        ranking = Ranking.of(scores, step.leftmost(self.frontier))
        # L = 1 − Σ doubt and U = max doubt. These sums are small, so they lose less to rounding than Σ c − (n − 1).
        doubt = 1 - ranking.sorted(step.confidence)
        sure = 1 - doubt.cumsum(-1) - doubt.cummax(-1).values > self.margin
        return Actions.single(ranking.first(sure), step.tokens)


@dataclass(frozen=True)
class LowEntropy:
    """Fill every open position of at most this entropy; if there are more than `most`, the best of them.

    Multi-token entropy decoding, MED (arXiv:2510.19990). The position with the best score is always filled. The plan's
    steps are not read.

    Args:
        entropy: nats.
        most: the largest number of positions in a step; null: any number.
        frontier: w, if only the w leftmost open positions may be filled; null: all.
    """

    entropy: float = 0.1
    most: int | None = None
    frontier: int | None = None

    def __post_init__(self) -> None:
        check_frontier("low_entropy", self.frontier)
        if not 0 <= self.entropy < math.inf:
            raise MdmkitError(f"select low_entropy: entropy={self.entropy}: it is in nats, from 0 up.")
        if self.most is not None and self.most < 1:
            raise MdmkitError(f"select low_entropy: most={self.most}: it must be at least 1, or null.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        eligible = step.leftmost(self.frontier)
        best = ops.top(scores, eligible, step.quota.clamp_max(1))
        low = eligible & (step.belief.entropy <= self.entropy)
        if self.most is not None:
            low = ops.top(scores, low, step.quota.new_full(step.quota.shape, self.most))
        # The best position is added only if none has low entropy.
        return Actions.single(low | (best & ~low.any(-1, keepdim=True)), step.tokens)


@dataclass(frozen=True)
class BlockRefinement:
    """Fill every open position above the threshold; if these are fewer than the quota, fill the best by quota.

    The dynamic decoding of SDAR (arXiv:2510.06303) and the block refinement of LLaDA2.0 (arXiv:2512.15745).

    Args:
        threshold: probability, exclusive. LLaDA2.0 takes 0.95, SDAR 0.85.
        frontier: w, if only the w leftmost open positions may be filled; null: all.
    """

    threshold: float = 0.95
    frontier: int | None = None

    def __post_init__(self) -> None:
        check_frontier("block_refinement", self.frontier)
        if not 0 <= self.threshold <= 1:
            raise MdmkitError(f"select block_refinement: threshold={self.threshold}: it is a probability, from 0 to 1.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        eligible = step.leftmost(self.frontier)
        sure = eligible & (step.confidence > self.threshold)
        enough = sure.sum(-1, keepdim=True) >= step.quota[:, None]
        place = sure.where(enough, ops.top(scores, eligible, step.quota))
        return Actions.single(place, step.tokens)
