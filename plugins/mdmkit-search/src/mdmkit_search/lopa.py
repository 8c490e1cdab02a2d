"""LoPA: threshold decoding that tries one extra token, and keeps the branch that promises most for the next step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import Actions, MdmkitError, ops
from mdmkit_search.entropy import mean_over

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Belief, Look, Step

MOST = 1024


@dataclass(frozen=True)
class Branches:
    """Propose an anchor branch, and b − 1 that fill one position more each (LoPA, arXiv:2512.16229).

    The anchor is a step of threshold decoding: every open position whose token is probable enough, always the best one.
    Branch i fills what the anchor does and the i-th best-scored position of the rest. The plan's steps are not read.

    Args:
        branches: b, the anchor included; the authors' scripts run 2 to 4 (HumanEval 12 to 14).
        threshold: probability from which the anchor fills a position; their code's 0.9.
    """

    branches: int = 4
    threshold: float = 0.9

    def __post_init__(self) -> None:
        if not 1 <= self.branches <= MOST:
            raise MdmkitError(f"select lopa: branches={self.branches}: from 1, the anchor alone, to {MOST}.")
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
        # The best i without the best i − 1 is the i-th.
        extra = ops.top(ranked, rest, number) & ~ops.top(ranked, rest, number - 1)
        live = torch.where(number == 0, anchor.any(-1), extra.any(-1))
        return Actions(anchor | extra, step.tokens[:, None].expand_as(extra), live)


@dataclass(frozen=True)
class BranchConfidence:
    """Value a branch by weight · c + (1 − weight) · f (LoPA, arXiv:2512.16229, and the authors' code).

    c is the probability of the token that it fills beyond alternative 0 (the mean, should there be several; 1 for
    alternative 0 itself). f is the mean over the least confident share of the positions left in the active block, at
    least one, of the probability of their best token; 1 where none is left.

    Args:
        weight: α of c.
        lowest: the share that f reads. Both are 0.5 in the code's classes; the authors' scripts run weight 0, lowest 1.
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
        ahead = look(_confidence)
        weakest = ops.top(-ahead, rest, (left * self.lowest).long().clamp_min(1))
        future = torch.where(left > 0, mean_over(ahead, weakest), 1.0)
        return self.weight * forked + (1 - self.weight) * future


def _confidence(belief: Belief) -> Tensor:
    return belief.confidence
