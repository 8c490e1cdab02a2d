"""Score and select: the first half of a step, and what is checked of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from mdmkit.loop import checks
from mdmkit.loop.checks import Guarded
from mdmkit.stage.actions import Actions

if TYPE_CHECKING:
    from mdmkit.loop.state import State
    from mdmkit.stage.step import Step


@dataclass(frozen=True)
class Proposal:
    """What a step proposes.

    Attributes:
        actions: N alternatives a row, after the constraint and the search.
        code: int64 [B]; the promises that were broken, by bit (see `mdmkit.loop.checks`).
    """

    actions: Actions
    code: Tensor


def propose(state: State, step: Step) -> Proposal:
    """Score the open positions [B, W] and turn the scores into N alternative actions a row.

    Raises:
        MdmkitError: a part fails, or returns something of another shape or type than promised.
    """
    sampler, tick = state.sampler, state.latest
    with Guarded(sampler, "score", tick):
        scores = sampler.score(step)
    checks.check_shape(sampler, "score", scores, step.open.shape)
    with Guarded(sampler, "select", tick):
        actions = sampler.select(step, scores)
    checks.check_actions(sampler, actions, step)
    code = checks.packed(checks.of_proposal(step, scores, actions))
    if sampler.constraint is not None:
        with Guarded(sampler, "constraint", tick):
            actions = sampler.constraint.settle(step, actions)
        checks.check_actions(sampler, actions, step)
    prune = getattr(sampler.search, "prune", None)
    if prune is not None:
        with Guarded(sampler, "search", tick):
            actions = prune(step, actions)
    return Proposal(actions, code)
