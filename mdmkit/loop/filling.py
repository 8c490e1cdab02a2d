"""Fill what is open in rows that a stop rule has ended, with the most probable tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit.canvas.trace import Trace, Written
from mdmkit.canvas.window import Window
from mdmkit.loop import checks, guard
from mdmkit.loop.guard import Guarded
from mdmkit.loop.reading import for_constraint
from mdmkit.loop.runner import Asked
from mdmkit.model.cache import Reach
from mdmkit.stage.actions import Actions
from mdmkit.stage.look import States
from mdmkit.stage.memory import Recall
from mdmkit.stage.step import Step

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.loop.state import State
    from mdmkit.stage.belief import Belief


def fill_best(state: State, rows: list[int]) -> dict[int, int]:
    """Fill open positions: one forward of the whole row, one step of the trace.

    A constraint settles the tokens together, as in a step at temperature 0. If it leaves some of them out, another
    forward follows.

    Returns:
        The broken promises of rows that have any: of the model, if its logits were not numbers, or of the constraint.
    """
    codes: dict[int, int] = {}
    while rows:
        found = _fill(state, rows)
        codes |= {row: code for row, (code, _) in zip(rows, found, strict=True) if code}
        rows = [row for row, (code, left) in zip(rows, found, strict=True) if left and not code]
    return codes


def _fill(state: State, rows: list[int]) -> list[tuple[int, int]]:
    """Fill open positions once; return each row's broken promises, and how many of its positions are still open."""
    p, device = state.particles, state.tick.device
    index = state.index_of(rows)
    canvas: Canvas = state.canvas.at(index)
    places = [state.places[row] for row in rows for _ in range(p)]
    spans = [(0, place.length) for place in places]
    where = Window.of(spans, device)
    reaches = [Reach(0, place.length, 0, None, place.length) for place in places]
    states = States(canvas.tokens, canvas.open, index, where)
    asked = Asked(states, index.tolist(), reaches, spans, state.tick[index])
    hidden = state.runner.forward(asked, state.canvas, p, state.previous)
    belief = state.runner.beliefs(hidden.window(where), hidden.held, states, where.columns)
    open_ = where(canvas.open) & where.member
    place, tokens, code = open_, belief.argmax, torch.zeros_like(state.tick[index])
    if state.constraint is not None:
        place, tokens, code = _settled(state, _step(state, rows, canvas, where, belief, open_))
    filled = canvas.filled(where.put(torch.zeros_like(canvas.open), place), where.put(canvas.tokens, tokens))
    _note(state.trace, index, where, place, belief, None if state.constraint is None else tokens)
    state.canvas = state.canvas.put(index, filled)
    odd = (belief.entropy.isnan() & open_).any(1)
    facts = torch.stack((torch.where(odd, checks.MODEL_ODD, code), filled.open.sum(1)), 1).view(-1, p, 2).tolist()
    return [(next((code for code, _ in own if code), 0), max(left for _, left in own)) for own in facts]


def _step(state: State, rows: Sequence[int], canvas: Canvas, where: Window, belief: Belief, open_: Tensor) -> Step:
    """The step that a constraint settles: everything is filled, with the most probable tokens."""
    index = state.index_of(rows)
    return Step(
        canvas=canvas,
        where=where,
        belief=belief,
        open=open_,
        quota=open_.sum(1),
        active=open_.any(1),
        tick=state.tick[index],
        taken=state.taken[index],
        plan=state.sampler.plan,
        draws=replace(state.sampler.draw, temperature=0.0, temperature_end=None),
        memory_view=Recall(state.memory, index, where, canvas.tokens.shape[1]),
        ids=[state.places[row].id for row in rows for _ in range(state.particles)],
        **for_constraint(state, rows, index),
    )


def _settled(state: State, step: Step) -> tuple[Tensor, Tensor, Tensor]:
    """The positions to fill, bool [B, W], their tokens, and broken promises, int64 [B]."""
    assert state.constraint is not None
    actions = Actions.single(step.open, step.belief.argmax)
    with Guarded(state.sampler, "constraint", state.latest, step=step, actions=actions):
        actions = guard.proposed(state.sampler, state.constraint.settle(step, actions), step)
    code = checks.of_settled(step, actions)
    place, tokens = actions.take(torch.zeros_like(step.tick))
    return place & step.open, tokens.clamp(0, step.belief.vocab - 1), code


def _note(trace: Trace, rows: Tensor, where: Window, place: Tensor, belief: Belief, tokens: Tensor | None) -> None:
    """Note in the trace that tokens int64 [B, W] were written at some places; None: the most probable ones."""
    entropy = belief.entropy
    confidence = belief.confidence if tokens is None else belief.probability(tokens)
    ranks = torch.ones_like(belief.argmax) if tokens is None or not trace.says else belief.rank_read(tokens)
    cost = torch.where(place, entropy.double(), 0.0).sum(1)
    facts = (place, confidence, entropy, cost, trace.ticks[rows], *((confidence.log(), ranks) if trace.says else ()))
    trace.write(rows, where, Written(*(fact[None] for fact in facts)))
    trace.count(rows, place.any(1))
