"""FreeDave: several steps of a static sampler drafted from one belief, and all checked in one look."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import Actions, MdmkitError, MdmkitWarning, ops, unknown
from mdmkit_search.measures import MEASURES

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Belief, Look, Step

MOST = 1024
# Stand for a token: of a position that a state leaves open, and of one that was not read.
OPEN, UNREAD = -1, -2


@dataclass(frozen=True)
class Drafts:
    """Propose the states after 1, 2, …, D static steps, all from the current belief (FreeDave, arXiv:2510.00294).

    A static step fills the K best-scored open positions with their most probable tokens; K is `plan.tokens_per_step`,
    or 1. So draft j fills the best j · K positions, and counts as j steps of the plan. Draft 1 is the static step. A
    draft that would leave nothing open in the block is not proposed: the block's last step needs no look.

    Nothing but the static step is proposed at a temperature above 0, because every step draws its tokens anew, and with
    `plan.steps`, because K then differs between steps.

    Args:
        depth: D; the runs that its authors published have 2 and 4.
    """

    depth: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= MOST:
            raise MdmkitError(
                f"select freedave: depth={self.depth}: it is a number of steps, from 1, which is the static step only, "
                f"to {MOST}."
            )

    @property
    def alternatives(self) -> int:
        return self.depth

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        if not _can_draft(step):
            return Actions.single(ops.top(scores, step.open, step.quota), step.tokens)
        number = torch.arange(self.depth, device=scores.device)[None]
        count = step.quota[:, None] + number * tokens_per_step(step)  # [B, D]
        ranked = scores[:, None].expand(-1, self.depth, -1)
        place = ops.top(ranked, step.open[:, None], count)
        live = place.any(-1) & ((number == 0) | (count < step.open.sum(1, keepdim=True)))
        steps = (number + 1).expand_as(count)
        return Actions(place, step.tokens[:, None].expand_as(place), live, steps)


@dataclass(frozen=True)
class Verified:
    """Value the deepest draft that the static sampler would have reached too (FreeDave, arXiv:2510.00294).

    Draft 1 is accepted. Draft j + 1 is accepted if draft j is, and if a static step from draft j leads to draft j + 1:
    to the same positions with the same tokens. The value of an accepted draft is its number, that of any other 0. So
    the tokens of a row are those of the static sampler, if `by` is the score of the sampler.

    Args:
        by: what a static step ranks positions by: `confidence`, `entropy` or `margin`, as the scores of these names.
    """

    by: str = "confidence"

    def __post_init__(self) -> None:
        if self.by not in MEASURES:
            raise MdmkitError(f"lookahead freedave: {unknown('by', self.by, MEASURES)}")

    def __call__(self, step: Step, actions: Actions, look: Look) -> Tensor:
        place = actions.place & actions.live[..., None]
        best = _best_tokens(step, place, look)
        rest = step.open[:, None] & ~place
        number = torch.arange(1, place.shape[1] + 1, device=place.device)[None]
        k = tokens_per_step(step)
        # What the plan's quota will be in each draft: K, and more if a constraint took positions from the draft.
        quota = (step.quota[:, None] + number * k - place.sum(-1)).clamp_min(k).minimum(rest.sum(-1))
        # The measure is read after the tokens: what a look reads last is kept for the next belief.
        target = ops.top(look(MEASURES[self.by]), rest, quota)

        drafts = torch.where(place, actions.tokens, OPEN)  # [B, N, W]
        targets = torch.where(target, best, drafts)
        agrees = (targets[:, :-1] == drafts[:, 1:]).all(-1) & actions.live[:, 1:]
        accepted = torch.cat((actions.live[:, :1], agrees), 1).long().cumprod(1)
        return (accepted * number).float()


def tokens_per_step(step: Step) -> int:
    """K: how many tokens a static step fills."""
    return step.plan.tokens_per_step or 1


def _can_draft(step: Step) -> bool:
    """Return True if the static steps to come can be known now; otherwise note why not."""
    if not step.draws.greedy:
        why = "every step draws its tokens anew at a temperature above 0: set draw.temperature=0"
    elif step.plan.steps is not None:
        why = f"plan.steps={step.plan.steps} fills a changing number of tokens a step: set plan.tokens_per_step instead"
    else:
        return True
    warnings.warn(
        f"select freedave drafts nothing, and saves no forward: {why}. The tokens are those of the static sampler.",
        MdmkitWarning,
        stacklevel=2,
    )
    return False


def _best_tokens(step: Step, place: Tensor, look: Look) -> Tensor:
    """The most probable token in each draft, int64 [B, N, W], at positions that a later draft fills; else `UNREAD`.

    The head runs at these positions only. They are at most K for each further draft, or some more with a constraint:
    then the last ones are not read, and a draft that needs them is not accepted.
    """
    later = (place & ~place[:, :1]).any(1)  # [B, W]
    most = min(later.shape[1], max(1, (place.shape[1] - 1) * tokens_per_step(step)))
    at = later.long().argsort(dim=1, descending=True, stable=True)[:, :most]
    read = look(_argmax, at=at)
    out = torch.full(place.shape, UNREAD, dtype=read.dtype, device=read.device)
    return out.scatter(-1, at[:, None].expand_as(read), read)


def _argmax(belief: Belief) -> Tensor:
    return belief.argmax
