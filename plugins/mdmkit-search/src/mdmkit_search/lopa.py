"""LoPA: threshold decoding that tries one extra token, and keeps the branch with the most confident next state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import Actions, MdmkitError, ops
from mdmkit_search.entropy import mean_over
from mdmkit_search.measures import confidence

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Look, Step

MOST = 1024


@dataclass(frozen=True)
class Branches:
    """Propose an anchor branch, and b − 1 branches that each fill one more position (LoPA, arXiv:2512.16229).

    The anchor is a step of threshold decoding: it fills every open position whose token is probable enough, always the
    best one. Branch i fills the same positions, and the i-th best-scored of the others. The plan's steps are not read.

    Args:
        branches: b, the anchor included; the authors' scripts use 2 to 4 (HumanEval 12 to 14).
        threshold: the anchor fills a position from this probability; 0.9 is that of their code.
    """

    branches: int = 4
    threshold: float = 0.9

    def __post_init__(self) -> None:
        if not 1 <= self.branches <= MOST:
            raise MdmkitError(f"select lopa: branches={self.branches}: from 1, which is the anchor only, to {MOST}.")
        if not 0 <= self.threshold <= 1:
            raise MdmkitError(f"select lopa: threshold={self.threshold}: it is a probability, from 0 to 1.")

    @property
    def alternatives(self) -> int:
        return self.branches

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        sure = step.open & (step.confidence >= self.threshold)
        anchor = (sure | ops.top(scores, step.open, step.quota.clamp_max(1)))[:, None]  # [B, 1, W]
        rest = step.open[:, None] & ~anchor
        number = torch.arange(self.branches, device=scores.device)[None]
        ranked = scores[:, None].expand(-1, self.branches, -1)
        # The best i positions without the best i − 1 are the i-th.
        extra = ops.top(ranked, rest, number) & ~ops.top(ranked, rest, number - 1)
        live = torch.where(number == 0, anchor.any(-1), extra.any(-1))
        return Actions(anchor | extra, step.tokens[:, None].expand_as(extra), live)


@dataclass(frozen=True)
class BranchConfidence:
    """Value a branch by weight · c + (1 − weight) · f (LoPA, arXiv:2512.16229, and the authors' code).

    c is the probability of the token that it fills beyond alternative 0 (the mean, if there are several; 1 for
    alternative 0). f is the mean probability of the best token, over the least confident share of the positions still
    open in the block, at least one; 1 if none is open.

    Args:
        weight: α of c.
        lowest: the share that f reads. Both are 0.5 in the code's classes; the authors' scripts use weight 0, lowest 1.
    """

    weight: float = 0.5
    lowest: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise MdmkitError(f"lookahead lopa: weight={self.weight}: it is a share, from 0 to 1.")
        if not 0 < self.lowest <= 1:
            raise MdmkitError(f"lookahead lopa: lowest={self.lowest}: it is a share, above 0 and at most 1.")

    def __call__(self, step: Step, actions: Actions, look: Look) -> Tensor:
        extra = actions.place & ~actions.place[:, :1]
        logp = step.belief.logp_of(actions.tokens.transpose(1, 2)).transpose(1, 2)
        forked = torch.where(extra.any(-1), mean_over(logp.exp(), extra), 1.0)

        rest = step.open[:, None] & ~actions.place
        left = rest.sum(-1)
        ahead = look(confidence)
        weakest = ops.top(-ahead, rest, (left * self.lowest).long().clamp_min(1))
        future = torch.where(left > 0, mean_over(ahead, weakest), 1.0)
        return self.weight * forked + (1 - self.weight) * future
