"""Score and select: the first half of a step, and the checks of their results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from mdmkit.loop import checks, guard
from mdmkit.loop.guard import Guarded

if TYPE_CHECKING:
    from mdmkit.loop.state import State
    from mdmkit.stage.actions import Actions
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
    with Guarded(sampler, "score", tick, step=step):
        scores = guard.floats(sampler.score(step), step.open.shape)
    with Guarded(sampler, "select", tick, step=step, scores=scores):
        actions = guard.proposed(sampler, sampler.select(step, scores), step)
    code = checks.of_proposal(step, scores, actions)
    if state.constraint is not None:
        with Guarded(sampler, "constraint", tick, step=step, actions=actions):
            actions = guard.proposed(sampler, state.constraint.settle(step, actions), step)
        code = code | checks.of_settled(step, actions)
    prune = getattr(sampler.search, "prune", None)
    if prune is not None:
        with Guarded(sampler, "search", tick, step=step, actions=actions):
            pruned = guard.proposed(sampler, prune(step, actions), step)
        if pruned is not actions:
            actions, code = pruned, code | checks.of_pruned(step, pruned, state.particles)
    return Proposal(_readable(actions, step.belief.vocab), code)


def _readable(actions: Actions, vocab: int) -> Actions:
    """Replace numbers that would fail as indices. A row with one ends after this step, with an error."""
    steps = None if actions.steps is None else actions.steps.clamp_min(0)
    return replace(actions, tokens=actions.tokens.clamp(0, vocab - 1), steps=steps)
