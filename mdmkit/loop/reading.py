"""What the stages read in a step: the step of the rows that have a belief."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mdmkit import ops
from mdmkit.loop.place import RUNNING
from mdmkit.stage.belief import Belief
from mdmkit.stage.look import States
from mdmkit.stage.memory import Recall
from mdmkit.stage.step import Step

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.loop.state import State
    from mdmkit.stage.hidden import Hidden


def read(state: State) -> Step:
    """Make the step of the rows that have a belief."""
    state.place_step()
    every, index, where = state.partial_index is None, state.index_of_step, state.where
    canvas = state.canvas if every else state.canvas.at(index)
    tick, taken, patience, done = (x if every else x[index] for x in state.cursor)
    open_, active = _open(state, canvas, patience, done)
    hidden = state.hidden_of_step = _known(state)
    states, now = States(canvas.tokens, canvas.open, index, where), hidden.window(where)
    say = partial(state.runner.beliefs, held=hidden.held, states=states, columns=where.columns)
    # The old step is freed only now: the allocator then reuses its memory for the new logits, page by page.
    state.step_now = Step(
        canvas=canvas,
        where=where,
        belief=_belief(state, now, hidden, open_, states) if state.reads_open else say(now),
        open=open_,
        quota=_quota(state.targets, open_, taken, state.sampler.plan.tokens_per_step or 0),
        active=active,
        tick=tick,
        taken=taken,
        plan=state.sampler.plan,
        draws=state.sampler.draw,
        memory_view=_recall(state),
        ids=[state.places[row].id for row in state.rows_of_step for _ in range(state.particles)],
        extra=hidden.extras(where, canvas.tokens.shape[1]),
        shadows=None if hidden.shadow is None else partial(say, hidden.shadow[:, : where.width]),
        patience=patience if state.lingers else None,
        **for_constraint(state, state.rows_of_step, index),
    )
    return state.step_now


def for_constraint(state: State, rows: Sequence[int], index: Tensor) -> dict[str, Any]:
    """What a step of some rows, whose particles are int64 [B], says to a constraint only."""
    if state.constraint is None:
        return {}
    return {"answer": state.answers.at(index), "behind": state.behind(rows), "rules": state.rules_of(rows)}


def _belief(state: State, values: Tensor, hidden: Hidden, open_: Tensor, states: States) -> Belief:
    """The belief at the open positions, bool [B, W], from hidden states [B, W, D]."""
    most = sum(state.places[row].todo for row in state.rows_of_step) * state.particles
    places = ops.marked(open_, min(most, open_.numel()))
    notes: dict[str, Tensor] = {}
    states = replace(states, notes=notes)
    logits, free = state.runner.beliefs.packed(values, hidden.held, places, states, state.where.columns)
    return Belief.at_open(logits, open_, places, free, notes)


def _recall(state: State) -> Recall:
    """What the step's rows remember. If further rows may join within the step, its own rows are named."""
    rows = state.index_of_step if state.refill is not None else state.partial_index
    return Recall(state.memory, rows, state.where, state.canvas.tokens.shape[1])


def _known(state: State) -> Hidden:
    """The hidden states of the rows that take the step."""
    assert state.hidden is not None
    return state.hidden if state.partial_index is None else state.hidden.at(state.index_of_step)


def _open(state: State, canvas: Canvas, patience: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
    """The positions that may be filled, bool [B, W], and the rows that make the step, bool [B]."""
    open_ = state.where(canvas.open) & state.where.member
    active = open_.any(1)
    if state.lingers:
        active = active | (patience > 0)
    if state.particles > 1:  # a particle that has ended waits for the others of its row
        running = done == RUNNING
        open_, active = open_ & running[:, None], active & running
    return open_, active


def _quota(targets: Tensor, open_: Tensor, taken: Tensor, least: int) -> Tensor:
    """The quota, int64 [B]: at least one if anything is open, and everything once the plan's steps are used up.

    It is computed from the number of open positions. If a step filled too few tokens, the next quota is larger; if it
    filled more, the next one is smaller. With `plan.tokens_per_step` = K it is K or more, if K are open.
    """
    count = open_.sum(1)
    allowed = targets.gather(1, taken.clamp_max(targets.shape[1] - 1)[:, None])[:, 0]
    return (count - allowed).clamp_min(max(1, least)).minimum(count)
