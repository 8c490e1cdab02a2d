"""Which rows have no answer that an automaton accepts, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mdmkit import Canvas
    from mdmkit_constrain.tables import Tables

# How many lengths an error names.
NAMED = 6


def why_none(tables: Tables, what: str, canvas: Canvas, start: int, stop: int) -> str | None:
    """Say why a row, a canvas [1, T] on the host, has no answer at columns [start, stop); None: it has one."""
    final = tables.final & ~(canvas.infill & tables.of_end)
    tokens, open_ = canvas.tokens[0, start:stop], canvas.open[0, start:stop]
    state = torch.arange(tables.states) == 0
    for t in range(stop - start):
        before, state = state, _next(tables, state, None if bool(open_[t]) else tokens[t])
        if not bool(open_[t]) and bool(before.any()) and not bool(state.any()):
            return _said_of_text(what, start + t)
    if bool((state & final).any()):
        return None
    if bool(open_.all()):
        return _said(tables, what, stop - start, final)
    return (
        f"no tokens in the {int(open_.sum())} open positions make a text that keeps {what}, together with the text "
        "between them. Change the number of masks, the text between them, or the rule."
    )


def lengths(tables: Tables, final: Tensor, most: int) -> list[int]:
    """How many tokens, up to `most`, an answer may have."""
    state, found = torch.arange(tables.states) == 0, []
    for length in range(most + 1):
        if bool((state & final).any()):
            found.append(length)
        state = _next(tables, state, None)
    return found


def _next(tables: Tables, state: Tensor, token: Tensor | None) -> Tensor:
    """The states, bool [Q], after one token: any that may be chosen (None), or this one."""
    by = tables.count > 0 if token is None else torch.arange(tables.classes) == tables.class_of[token]
    after, arrows = torch.zeros_like(state), tables.moves
    after[arrows.index[state[arrows.first] & by[arrows.second]]] = True
    return after


def _said_of_text(what: str, column: int) -> str:
    return (
        f"the text between its masks breaks {what} at position {column}, whatever is filled in. Change this text, or "
        "the rule."
    )


def _said(tables: Tables, what: str, length: int, final: Tensor) -> str:
    most, many = 4 * length + 64, f"{length} token{'' if length == 1 else 's'}"
    fit = lengths(tables, final, most)
    if not fit:
        return (
            f"no text of the tokens that may be chosen, up to {most} of them, keeps {what}. Change the rule, take "
            "tokens off draw.suppress, or set plan.length, or the prompt's own length, to far more."
        )
    near = sorted(sorted(fit, key=lambda n: (abs(n - length), n))[:NAMED])
    named = ", ".join(map(str, near))
    ends = bool((final & tables.of_end).any())
    if ends:
        return (
            f"{many} are too few to keep {what}: the shortest text that does takes {fit[0]}. Set plan.length, or the "
            "prompt's own length, to this or more, or change the rule."
        )
    return (
        f"no text of {many} keeps {what}, and this row takes no end token, so the text must fill it. Lengths that fit "
        f"near it: {named}. Change plan.length, the prompt's own length, or the rule."
    )
