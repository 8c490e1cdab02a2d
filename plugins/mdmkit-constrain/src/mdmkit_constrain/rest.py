"""The two parts of an answer that need no sums: text from its beginning on, and open positions up to its end."""

from __future__ import annotations

import torch
from torch import Tensor

from mdmkit_constrain import chain, classes
from mdmkit_constrain.tables import Tables


def state_after(tables: Tables, tokens: Tensor, count: Tensor) -> Tensor:
    """Weights of the states after the first tokens of each answer: float64 [m, Q], 0 for one state and −inf elsewhere.

    Args:
        tokens: int64 [m, L].
        count: int64 [m]; how many tokens of each answer are read.
    """
    dense, states = tables.dense_next, tables.states
    state, classes = torch.zeros_like(count), tables.class_of[tokens]
    for t in range(tokens.shape[1]):
        state = torch.where(t < count, dense[state, classes[:, t]], state)
    every = torch.arange(states, device=tokens.device)
    hit = state[:, None] == every
    return torch.zeros_like(hit, dtype=torch.float64).masked_fill(~hit, -torch.inf)


def endings_of_open(tables: Tables, infill: Tensor, count: Tensor, most: int, best: bool) -> Tensor:
    """Weights of all endings of some open positions of which nothing is known: float64 [m, Q].

    Args:
        infill: bool [m]; a row that holds its masks itself takes no end token.
        count: int64 [m]; the open positions of each row, at most `most`.
    """
    if best not in tables.kept:
        tables.kept[best] = _Endings(tables, best)
    return tables.kept[best].upto(most)[infill.long(), count]


class _Endings:
    """The weights of the endings of 0, 1, … open positions; they are the same in every row, so they are kept."""

    def __init__(self, tables: Tables, best: bool):
        self._tables, self._best = tables, best
        final = torch.stack((tables.final, tables.final & ~tables.of_end))
        self._table = torch.zeros_like(final, dtype=torch.float64).masked_fill(~final, -torch.inf)[:, None]

    def upto(self, most: int) -> Tensor:
        """Float64 [2, most + 1 or more, Q], by infill and number of positions."""
        table = self._table
        if table.shape[1] <= most:
            flat = classes.flat_weights(self._tables, self._best).expand(2, -1)
            flat = chain.in_groups(self._tables, flat, self._best)
            known = list(table.unbind(1))
            while len(known) <= most:
                known.append(chain.withdraw(self._tables, known[-1], flat, self._best))
            self._table = table = torch.stack(known, 1)  # in one go: other engines may read it
        return table
