"""Rows that leave: filled, ended by a stop rule, or with an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mdmkit import ops
from mdmkit.loop import checks
from mdmkit.loop.filling import fill_best
from mdmkit.loop.final_row import Said, read_final
from mdmkit.loop.guard import Guarded, PartError, indices
from mdmkit.loop.left import Left
from mdmkit.loop.place import BY_END, BY_RULE
from mdmkit.stage.traits import trait

if TYPE_CHECKING:
    from mdmkit.loop.state import State


def leave(state: State, gone: list[tuple[int, int, int]]) -> None:
    """Let rows leave; they are in `state.left` afterwards.

    Args:
        gone: for each row, its index among the rows at work, its broken promises (0: none) and the rule that ended it.

    Raises:
        MdmkitError: the search fails to choose a row's answer.
    """
    best = [row for row, code, rule in gone if rule == BY_RULE and not code and _fill(state) == "best"]
    odd = fill_best(state, best) if best else {}
    codes = {row: odd.get(row, code) for row, code, _ in gone}
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
