"""Build the looks that lookaheads and searches read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit import ops
from mdmkit.canvas.window import Window
from mdmkit.loop.runner import Asked
from mdmkit.stage.look import Look, States

if TYPE_CHECKING:
    from mdmkit.loop.place import Place
    from mdmkit.loop.state import State
    from mdmkit.stage.hidden import Hidden
    from mdmkit.stage.step import Step


def look_at(
    state: State, step: Step, hidden: Hidden, states: States, flat: list[int], among: list[int], n: int
) -> Look:
    """Build the look at some of the states that were forwarded.

    Args:
        hidden, states: of all states that were forwarded.
        flat: the states that the look shows, as indices into [B·N].
        among: the same states, as indices into `states`.
        n: N.
    """
    if len(among) < len(states.rows):
        some = ops.uploaded(among, states.rows.device)
        hidden, states = hidden.at(some), states.at(some)
    return _view(state, step, hidden, states, flat, n, _open_ahead(state, flat, n))


def _view(
    state: State, step: Step, hidden: Hidden, states: States, flat: list[int], n: int, most_open: dict[str, list[int]]
) -> Look:
    where = ops.uploaded(flat, states.rows.device, torch.long)
    now = (state.hidden_of_step, States(step.canvas.tokens, step.canvas.open, state.index_of_step))

    def again(tokens: Tensor, open_: Tensor) -> Look:
        return _again(state, step, tokens, open_, flat, n)

    beliefs, shape, reach = state.runner.beliefs, (step.rows, n), _reach(state, where.device)
    most = (_open_now(state), most_open) if state.looks_at_open else None
    return Look(beliefs, now, (hidden, states), where, shape, step.where, reach, again, most)


def _open_now(state: State) -> dict[str, list[int]]:
    """At most so many positions are open in each current state of the step's rows."""
    return _open_in(state, [state.places[row] for row in state.rows_of_step for _ in range(state.particles)])


def _open_ahead(state: State, flat: list[int], n: int) -> dict[str, list[int]]:
    """At most so many positions are open in each of some next states, indices into [B·N]: as in the current ones."""
    return _open_in(state, [state.places[state.rows_of_step[one // n // state.particles]] for one in flat])


def _open_in(state: State, places: list[Place]) -> dict[str, list[int]]:
    # Particles that have ended may have left positions open in earlier blocks.
    beyond = [place.todo + (place.length if state.particles > 1 else place.rest) for place in places]
    return {"block": [place.todo for place in places], "sequence": beyond}


def _reach(state: State, device: torch.device) -> Window:
    """The columns that a step of each row computes."""
    spans = [
        (place.block.low if state.cache.keeps else 0, place.step_reach(state.cache).stop)
        for row in state.rows_of_step
        for place in [state.places[row]] * state.particles
    ]
    return Window.of(spans, device)


def _again(state: State, step: Step, tokens: Tensor, open_: Tensor, shown: list[int], before: int) -> Look:
    """Forward other states, [B, N, T], of the rows that the first look shows.

    If there are as many alternatives as before, only those that it shows are forwarded. Otherwise a row's cost would
    depend on how many alternatives the rows beside it have.
    """
    n, p = tokens.shape[1], state.particles
    flat = shown if n == before else [b * n + k for b in sorted({one // before for one in shown}) for k in range(n)]
    owners, places = [], []
    for b in (one // n for one in flat):
        row = state.rows_of_step[b // p]
        owners.append(row * p + b % p)
        places.append(state.places[row])
    where = ops.uploaded(flat, tokens.device, torch.long)
    rows = ops.uploaded(owners, tokens.device, torch.long)
    states = States(tokens.flatten(0, 1)[where], open_.flatten(0, 1)[where], rows)
    reaches = [place.step_reach(state.cache) for place in places]
    columns = [(reach.start, reach.stop) for reach in reaches]
    asked = Asked(states, owners, reaches, columns, step.tick[where // n] + 1)
    hidden = state.runner.forward(asked, state.canvas, p, state.previous)
    # The part may have opened positions in these states.
    every = [states.open.shape[1]] * len(flat)
    return _view(state, step, hidden, states, flat, n, {"block": every, "sequence": every})
