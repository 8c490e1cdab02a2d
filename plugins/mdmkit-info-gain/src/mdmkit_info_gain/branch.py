"""The proposals of Info-Gain: the greedy action, and alternatives drawn around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import Actions, MdmkitError, noise, ops

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


# Every pair of a row's candidates is compared to merge equal ones.
MOST = 1024


@dataclass(frozen=True)
class Branch:
    """Propose up to N actions per row (arXiv:2602.18176, §2 of the method).

    Alternative 0 is greedy: the most probable tokens at the best-scored positions. Every other one draws its own
    tokens at `draw.temperature`, then its positions without replacement from softmax(score / position_temperature),
    where under score `confidence` a position counts as much as the token drawn for it is probable; any other score is
    taken as it is. Equal (positions, tokens) are merged.

    Two cases propose nothing to compare, and so cost one forward at most: the last step of a block, and a step in
    which some position is already certain (bypass), which fills the certain ones alone. A bypass that fills fewer than
    the plan owes leaves the rest to the next steps' quota.

    Args:
        candidates: N, alternatives per row.
        position_temperature: τ_pos of the position draw, on raw scores (probabilities for score confidence).
        bypass: γ; probability from which a position counts as certain, null never bypasses.
    """

    candidates: int = 8
    position_temperature: float = 0.1
    bypass: float | None = 0.8

    def __post_init__(self) -> None:
        if not 1 <= self.candidates <= MOST:
            raise MdmkitError(
                f"select branch: candidates={self.candidates}: from 1, the greedy action alone, to {MOST}."
            )
        if not 0 < self.position_temperature < math.inf:
            raise MdmkitError(f"select branch: position_temperature={self.position_temperature}: it must be above 0.")
        if self.bypass is not None and not 0 <= self.bypass <= 1:
            raise MdmkitError(f"select branch: bypass={self.bypass}: it is a probability, from 0 to 1, or null.")

    @property
    def alternatives(self) -> int:
        return self.candidates

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        last = step.open.sum(1) <= step.quota  # [B]
        sure, certain = self._bypass(step)  # [B], [B, W]
        alone = last | sure

        tokens, wants = self._proposals(step, scores)  # [B, N, W]
        place = ops.top(wants, step.open[:, None], step.quota[:, None])
        # The bypass fills the best of the certain positions; the last step fills everything, at the drawn tokens.
        bypassed = ops.top(wants[:, 0], certain, step.quota)
        place[:, 0] = torch.where(last[:, None], step.open, torch.where(sure[:, None], bypassed, place[:, 0]))
        tokens[:, 0] = torch.where(last[:, None], step.tokens, tokens[:, 0])

        live = _distinct(place, tokens) & place.any(-1)
        live[:, 1:] &= ~alone[:, None]
        return Actions(place, tokens, live)

    def _bypass(self, step: Step) -> tuple[Tensor, Tensor]:
        if self.bypass is None:
            none = torch.zeros_like(step.open)
            return none.any(1), none
        certain = step.open & (step.belief.confidence >= self.bypass)
        return certain.any(1), certain

    def _proposals(self, step: Step, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Each alternative's tokens int64 [B, N, W] and how much it wants each position, [B, N, W]."""
        n, belief = self.candidates, step.belief
        greedy = belief.argmax[:, None]
        tokens = greedy.clone() if n == 1 else torch.cat((greedy, step.draw(n - 1, "branch_tokens")), 1)
        wants = scores[:, None].expand(-1, n, -1).double()
        if scores is step.confidence and step.draws.temperature > 0:
            certainty = belief.logp_of(tokens.transpose(1, 2)).exp().transpose(1, 2)
            wants = certainty.double()
        if n > 1:
            drawn = wants[:, 1:] / self.position_temperature + noise.gumbel(step.noise("branch_positions", n - 1))
            wants = torch.cat((wants[:, :1], drawn), 1)
        return tokens, wants


def _distinct(place: Tensor, tokens: Tensor) -> Tensor:
    """Mark the first of each set of equal alternatives: place bool, tokens int64, both [B, N, W] -> bool [B, N]."""
    written = torch.where(place, tokens, -1)
    same = (written[:, :, None] == written[:, None, :]).all(-1)  # [B, N, N]
    earlier = torch.ones(same.shape[1:], dtype=torch.bool, device=same.device).tril(-1)
    return ~(same & earlier).any(-1)
