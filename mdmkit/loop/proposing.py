"""Score and select: the first half of a step, and the checks of their results."""

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
    """The actions that a step proposes.

    Attributes:
        actions: N alternatives per row, after the constraint's `settle` and the search's `prune`.
        code: int64 [B]; broken promises, one bit each (see `mdmkit.loop.checks`).
    """

    actions: Actions
    code: Tensor


def propose(state: State, step: Step) -> Proposal:
    """Score the open positions [B, W], and turn the scores into N alternative actions per row.

    Raises:
        MdmkitError: a part fails, or returns a wrong shape or type.
    """
    sampler, tick = state.sampler, state.latest
    with Guarded(sampler, "score", tick):
        scores = sampler.score(step)
    checks.check_shape(sampler, "score", scores, step.open.shape)
    with Guarded(sampler, "select", tick):
        actions = sampler.select(step, scores)
    checks.check_actions(sampler, actions, step)
    code = checks.packed(checks.of_proposal(step, scores, actions), checks.OF_PROPOSAL)
    if sampler.constraint is not None:
        with Guarded(sampler, "constraint", tick):
            actions = sampler.constraint.settle(step, actions)
        checks.check_actions(sampler, actions, step, "constraint")
        code = code | checks.of_settled(step, actions)
    prune = getattr(sampler.search, "prune", None)
    if prune is not None:
        with Guarded(sampler, "search", tick):
            pruned = prune(step, actions)
        if pruned is not actions:
            checks.check_actions(sampler, pruned, step, "search")
            actions, code = pruned, code | checks.of_pruned(step, pruned)
    return Proposal(actions, code)
