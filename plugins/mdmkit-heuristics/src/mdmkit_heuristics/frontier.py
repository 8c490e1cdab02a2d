"""IGFD: fill near written tokens, where the neighbourhood is most uncertain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from mdmkit import MdmkitError, ops
from mdmkit_heuristics.block import near, written_as

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step

# Added to the scores of the frontier, so that it always comes first.
AHEAD = 1e3


@dataclass(frozen=True)
class IGFD:
    """alpha · c + beta · c · need − gamma · [token is dull], the frontier first (IGFD, arXiv:2608.26641).

    c is the confidence. need is the mean entropy, in nats, of the open positions at most `reach` away, the position
    itself included. The frontier holds the `size` best of the open positions at most `distance` from a generated token;
    while there is no such token, it holds the first `size` open positions. All other positions follow in the order of
    their scores, and are filled if the quota is larger than the frontier.

    Args:
        alpha: weight of the confidence.
        beta: weight of the need.
        gamma: subtracted from the score of a dull token.
        reach: r, positions.
        distance: R, positions.
        size: F, positions.
        dull: token ids; in the paper those of punctuation, spaces and special tokens.
    """

    alpha: float = 0.7
    beta: float = 0.5
    gamma: float = 0.2
    reach: int = 2
    distance: int = 2
    size: int = 8
    dull: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            if not 0 <= getattr(self, name) <= 100:
                raise MdmkitError(f"score igfd: {name}={getattr(self, name)}: it must be from 0 to 100.")
        for name in ("reach", "distance"):
            if getattr(self, name) < 0:
                raise MdmkitError(f"score igfd: {name}={getattr(self, name)}: it is a number of positions, from 0 up.")
        if self.size < 1:
            raise MdmkitError(f"score igfd: size={self.size}: the frontier holds at least 1 position.")

    def __call__(self, step: Step) -> Tensor:
        sure = step.confidence
        entropy = torch.where(step.open, step.belief.entropy, 0.0)
        around = 2 * self.reach + 1
        total, number = (
            functional.avg_pool1d(x[:, None], around, stride=1, padding=self.reach)[:, 0]
            for x in (entropy, step.open.to(entropy.dtype))
        )
        need = total / number.clamp_min(1 / (2 * around))
        score = self.alpha * sure + self.beta * sure * need
        if self.dull:
            score = score - self.gamma * written_as(step, self.dull)
        return score + AHEAD * self._frontier(step, score)

    def _frontier(self, step: Step, score: Tensor) -> Tensor:
        written = step.canvas.editable & ~step.canvas.open
        close = step.open & step.window(near(written, self.distance))
        size = torch.full_like(step.quota, self.size)
        first = ops.top(-step.position.float(), step.open, size)
        close = torch.where(written.any(-1, keepdim=True), close, first)
        return ops.top(score, close, size)
