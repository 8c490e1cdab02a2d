"""Rows that leave: filled, ended by a stop rule, or with an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit import ops
from mdmkit.canvas.canvas import Canvas
from mdmkit.canvas.trace import Trace, Written
from mdmkit.canvas.window import Window
from mdmkit.loop import checks
from mdmkit.loop.final_row import Said, read_final
from mdmkit.loop.guard import Guarded, PartError, indices
from mdmkit.loop.left import Left
from mdmkit.loop.place import BY_END, BY_RULE
from mdmkit.loop.runner import Asked
from mdmkit.model.cache import Reach
from mdmkit.stage.look import States
from mdmkit.stage.traits import trait

if TYPE_CHECKING:
    from mdmkit.loop.state import State
    from mdmkit.stage.belief import Belief


def leave(state: State, gone: list[tuple[int, int, int]]) -> None:
    """Let rows leave; they are in `state.left` afterwards.

    Args:
        gone: for each row, its index among the rows at work, its broken promises (0: none) and the rule that ended it.

    Raises:
        MdmkitError: the search fails to choose a row's answer.
    """
    best = [row for row, code, rule in gone if rule == BY_RULE and not code and _fill(state) == "best"]
    odd = _fill_best(state, best) if best else []
    codes = {row: checks.MODEL_ODD if row in odd else code for row, code, _ in gone}
    answers, failure = _answers(state, codes)
    whole = {row: at for row, at in answers.items() if not codes[row]}
    final = read_final(state, whole, _closing(state)) if state.sampler.plan.logprobs == "final" else {}
    state.left += [
        _left(state, row, answers[row], codes[row], rule, final.get(row)) for row, _, rule in gone if row in answers
    ]
    sound = [row for row, code, _ in gone if not code and row not in odd]
    state.reuse.keep(state.places, sound, state.canvas)
    state.drop([row for row, _, _ in gone], sound)
    if failure is not None:
        raise failure


def _fill(state: State) -> str:
    return trait("stop", state.sampler.stop, "fill")


def _answers(state: State, codes: dict[int, int]) -> tuple[dict[int, int], PartError | None]:
    """The state that is each row's answer, and why the search fails, if it does.

    Args:
        codes: the broken promises of each row; those of a search that names no particle are added.
    """
    p, out, failure = state.particles, dict[int, int](), None
    for row, code in codes.items():
        index = list(range(row * p, (row + 1) * p))
        try:
            answer = 0 if p == 1 or code else _best(state, index)
        except PartError as error:  # the other rows have ended all the same
            failure = failure or error
            continue
        if not 0 <= answer < p:
            answer, codes[row] = 0, checks.BEST_STRAYS
        out[row] = index[answer]
    return out, failure


def _left(state: State, row: int, answer: int, code: int, rule: int, final: Said | None) -> Left:
    place, p = state.places[row], state.particles
    index = list(range(row * p, (row + 1) * p))
    error = checks.broken(state.sampler, code, max(0, place.ticks - 1), row) if code else None
    canvas, trace = state.canvas.at([answer]), state.trace.at([answer])
    costs = state.runner.rows, state.runner.row_tokens, state.runner.columns
    trace.rows, trace.row_tokens, trace.columns = (torch.tensor([sum(cost[i] for i in index)]) for cost in costs)
    if canvas.open.any() and not error:
        canvas = canvas.filled(canvas.open, torch.full_like(canvas.tokens, _closing(state)))
    stopped = {BY_END: "end", BY_RULE: state.sampler.name_of("stop")}.get(rule)
    ended = canvas.narrowed(place.length).to("cpu"), trace.narrowed(place.length).cpu()
    return Left(place.id, *ended, stopped, error, final)


def _closing(state: State) -> int:
    """The token for positions that are open when a row ends; it is never shown."""
    return next(iter(state.backbone.ends), state.backbone.pad_id)


def _best(state: State, index: list[int]) -> int:
    """The particle that is a row's answer."""
    rows = ops.uploaded(index, state.tick.device)
    trace = state.trace.at(rows)
    search = state.sampler.search
    assert search is not None
    with Guarded(state.sampler, "search", state.latest):
        return int(indices(search.best(state.canvas.at(rows), trace, state.memory.of(rows)), 1)[0])


def _fill_best(state: State, rows: list[int]) -> list[int]:
    """Fill open positions with the most probable tokens: one forward of the whole row, one step of the trace.

    Returns:
        The rows of which the model's logits were not numbers.
    """
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
    filled = canvas.filled(canvas.open, where.put(canvas.tokens, belief.argmax))
    _note(state.trace, index, where, open_, belief)
    state.canvas = state.canvas.put(index, filled)
    odd = (belief.entropy.isnan() & open_).any(1).view(-1, p).any(1).tolist()
    return [row for row, is_odd in zip(rows, odd, strict=True) if is_odd]


def _note(trace: Trace, rows: Tensor, where: Window, open_: Tensor, belief: Belief) -> None:
    """Note in the trace that the most probable tokens were written."""
    entropy, confidence = belief.entropy, belief.confidence
    cost = torch.where(open_, entropy.double(), 0.0).sum(1)
    ranks = torch.ones_like(belief.argmax)
    facts = (open_, confidence, entropy, cost, trace.ticks[rows], *((confidence.log(), ranks) if trace.says else ()))
    trace.write(rows, where, Written(*(fact[None] for fact in facts)))
    trace.count(rows, open_.any(1))
