"""The proposals of Info-Gain: the greedy action, and alternatives drawn around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import Actions, MdmkitError, noise, ops
from mdmkit_info_gain.spacing import Reach, spaced_top

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


# Every pair of a row's candidates is compared to merge equal ones.
MOST = 1024

CERTAIN = ("alone", "fixed", "all")


@dataclass(frozen=True)
class Branch:
    """Propose up to N actions per row (arXiv:2602.18176, §2 of the method).

    Alternative 0 is greedy: the most probable tokens at the best-scored positions. Every other alternative draws its
    own tokens at `draw.temperature`, then its positions without replacement from softmax(score / position_temperature).
    Under the score `confidence` the score of a position is the probability of its drawn token; any other score is used
    unchanged. Equal (positions, tokens) are merged.

    In three cases there is nothing to compare, so the step costs at most one forward: the last step of a block, a step
    in which the scores are clear (`gap`), and a step in which some position is already certain (`bypass`). `certain`
    says what such a step fills:

    * `alone` fills up to K of the certain positions and no other, as the authors' code does. If they are fewer than K,
      the next steps fill the others.
    * `fixed` fills them in every alternative; the alternatives differ in the other positions of the K. If K are
      certain, nothing is compared. This follows the paper's text.
    * `all` fills every certain position, also more than K (arXiv:2505.22618), and no other.

    Args:
        candidates: N, alternatives per row.
        position_temperature: τ_pos of the position draw, on raw scores (probabilities for score confidence).
        bypass: γ; a position counts as certain from this probability; null: never.
        certain: see above.
        gap: propose only the greedy action if its worst position scores more than this above the best position that it
            does not fill; null: always compare.
        spacing: the least distance between two positions of one action, except certain ones; 1: no rule. On a grid
            (images) it is the larger of the distances in rows and in columns. If the rule leaves an action with fewer
            than K positions, the best of the others are added.
        overlap: leave out an alternative that shares at least this share of its (position, token) pairs with an earlier
            one, certain positions excepted. So if K is large, no two actions are nearly the same. 1: leave out only
            equal ones.
    """

    candidates: int = 8
    position_temperature: float = 0.1
    bypass: float | None = 0.8
    certain: str = "alone"
    gap: float | None = None
    spacing: int = 1
    overlap: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.candidates <= MOST:
            raise MdmkitError(
                f"select branch: candidates={self.candidates}: from 1, which is the greedy action only, to {MOST}."
            )
        if not 0 < self.position_temperature < math.inf:
            raise MdmkitError(f"select branch: position_temperature={self.position_temperature}: it must be above 0.")
        if self.bypass is not None and not 0 <= self.bypass <= 1:
            raise MdmkitError(f"select branch: bypass={self.bypass}: it is a probability, from 0 to 1, or null.")
        if self.certain not in CERTAIN:
            raise MdmkitError(f"select branch: certain={self.certain!r}: it is one of {', '.join(CERTAIN)}.")
        if self.gap is not None and not 0 <= self.gap < math.inf:
            raise MdmkitError(f"select branch: gap={self.gap}: a difference of scores, from 0 up, or null.")
        if self.spacing < 1:
            raise MdmkitError(f"select branch: spacing={self.spacing}: a distance in tokens, at least 1; 1 is no rule.")
        if not 0 < self.overlap <= 1:
            raise MdmkitError(
                f"select branch: overlap={self.overlap}: a share, above 0 and at most 1, which leaves out equal "
                "alternatives only."
            )

    @property
    def alternatives(self) -> int:
        return self.candidates

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        tokens, wants = self._proposals(step, scores)  # [B, N, W]
        certain = self._certain(step)  # [B, W]
        sure = certain if self.certain == "all" else ops.top(wants[:, 0], certain, step.quota)
        last = step.open.sum(1) <= step.quota  # [B]
        if self.certain == "fixed":
            owed = step.quota - sure.sum(1)
            settled, given = owed <= 0, sure
            tokens = torch.where(given[:, None], step.belief.argmax[:, None], tokens)
        else:
            owed, settled, given = step.quota, sure.any(1), torch.zeros_like(sure)
        free = step.open & ~given
        place = spaced_top(wants, free[:, None], owed[:, None], Reach.of(step, self.spacing))
        alone = last | settled | self._clear(wants[:, 0], place[:, 0], free)
        place = place | given[:, None]
        # The certain positions, if the step fills only these. The last step fills everything, with the drawn tokens.
        first = torch.where(settled[:, None], sure, place[:, 0])
        place[:, 0] = torch.where(last[:, None], step.open, first)
        tokens[:, 0] = torch.where(last[:, None], step.tokens, tokens[:, 0])

        live = _distinct(place, tokens) & place.any(-1)
        if self.overlap < 1:
            live = _unlike(place & ~given[:, None], tokens, live, self.overlap)
        live[:, 1:] &= ~alone[:, None]
        return Actions(place, tokens, live)

    def _certain(self, step: Step) -> Tensor:
        if self.bypass is None:
            return torch.zeros_like(step.open)
        return step.open & (step.belief.confidence >= self.bypass)

    def _clear(self, wants: Tensor, place: Tensor, free: Tensor) -> Tensor:
        """bool [B]: True if the greedy action's worst position is clearly above the best one that it leaves open."""
        if self.gap is None:
            return torch.zeros_like(place[:, 0])
        worst = torch.where(place, wants, torch.inf).amin(1)
        return worst - torch.where(free & ~place, wants, -torch.inf).amax(1) > self.gap

    def _proposals(self, step: Step, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Each alternative's tokens int64 [B, N, W], and how early it would fill each position, [B, N, W]."""
        n, belief = self.candidates, step.belief
        greedy = belief.argmax[:, None]
        tokens = greedy.clone() if n == 1 else torch.cat((greedy, step.draw(n - 1, "branch_tokens")), 1)
        wants = scores[:, None].expand(-1, n, -1).double()
        if scores is step.confidence and not step.draws.greedy:
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


def _unlike(place: Tensor, tokens: Tensor, live: Tensor, overlap: float) -> Tensor:
    """bool [B, N]: the live alternatives without those that are too similar to an earlier one that stays."""
    written = torch.where(place, tokens, -1)
    size, live = place.sum(-1), live.clone()
    # One alternative is compared with all earlier ones at a time, so that [B, N, N, W] never exists at once.
    for i in range(1, live.shape[1]):
        common = ((written[:, i : i + 1] == written[:, :i]) & place[:, :i]).sum(-1)  # [B, i]
        share = common.double() / torch.maximum(size[:, i : i + 1], size[:, :i]).clamp_min(1)
        alike = ((share >= overlap - 1e-9) & live[:, :i]).any(-1)
        live[:, i] &= ~alike
    return live
