"""The simplest stage of each kind, to complete a sampler around the stage under test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import noise, ops
from mdmkit.stage.actions import Actions
from mdmkit.stage.protocols import Lookahead, Score, Select

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.stage.look import Look
    from mdmkit.stage.step import Step


@dataclass(frozen=True)
class ByConfidence(Score):
    """Score by the probability of the token that would be written."""

    def __call__(self, step: Step) -> Tensor:
        return step.confidence


@dataclass(frozen=True)
class TakeQuota(Select):
    """Fill the best positions, as many as the quota."""

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        return Actions.single(ops.top(scores, step.open, step.quota), step.tokens)


@dataclass(frozen=True)
class Spread(Select):
    """Propose the best positions, and others drawn around them; some rows propose only one alternative.

    Args:
        candidates: N.
    """

    candidates: int = 4

    @property
    def alternatives(self) -> int:  # type: ignore[override]
        return self.candidates

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        n = self.candidates
        drawn = scores[:, None] + noise.gumbel(step.noise("spread", n))
        wants = torch.cat((scores[:, None].double(), drawn[:, 1:]), 1)
        place = ops.top(wants, step.open[:, None], step.quota[:, None])
        order = torch.arange(n, device=place.device)
        # The number of live alternatives depends on the row's tick, so a batch holds rows with 1, 2, … of them.
        live = place.any(-1) & ((order == 0) | (order <= step.tick[:, None] % (n + 1)))
        return Actions(place, step.draw(n, "spread_tokens").contiguous(), live)


@dataclass(frozen=True)
class LeastEntropyLeft(Lookahead):
    """Value a next state by minus the mean entropy over what stays open."""

    def __call__(self, step: Step, actions: Actions, look: Look) -> Tensor:
        after = step.open[:, None] & ~actions.place
        ahead = look(lambda belief: belief.entropy)
        return -torch.where(after, ahead, 0.0).sum(-1) / after.sum(-1).clamp_min(1)
