"""Rows of different lengths without their padding: the model gets their columns one behind another, as one row.

Its layers compute each column by itself, except for attention. There rows of equal length, if they follow one another,
are a *run*, and each run is computed apart. If that costs more than a little padding, the rows stand side by side.
On a CPU the time of a layer is nearly proportional to the number of its columns. On a GPU shapes that change with every
forward cost more than they save.

Shapes: M states, L columns each (shadow columns included), P of which are valid; K keys; H query heads, G heads of keys
and values, E the width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

# What one more run costs, as so many products of a query's number with a key's (scores times the width of the model).
RUN = 1 << 16

# Attention of some rows side by side, [N, H, L, E] and their mask -> [N, L, …]; the slice names the rows among the M.
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, slice], Tensor]


class Run(NamedTuple):
    """Rows of equal length that follow one another.

    Attributes:
        rows: which of the M states.
        columns: which of the P columns.
        length: valid columns of each.
    """

    rows: slice
    columns: slice
    length: int

    def of(self, heads: Tensor) -> Tensor:
        """Take the run's part of queries, keys or values: of [1, H, P, E] or [M, H, K, E]."""
        if len(heads) > 1:
            return heads[self.rows]
        count = self.rows.stop - self.rows.start
        return heads[0, :, self.columns].unflatten(1, (count, self.length)).transpose(0, 1)


class Packing:
    """The valid columns of a forward of M > 1 rows.

    Args:
        valid: bool [M, L].
        keys: of the attention.
        width: of the model.
        runs: False: rows stand side by side in attention, whatever that costs.
    """

    def __init__(self, valid: Tensor, keys: int, width: int, runs: bool = True):
        self._shape = valid.shape
        self._index = valid.flatten().nonzero()[:, 0]  # on a CPU nobody waits for it
        self.runs = self._runs(valid, keys * width) if runs else None
        self._masks: tuple[Tensor, list[tuple[Tensor | None, int]]] | None = None

    def _runs(self, valid: Tensor, price: int) -> list[Run] | None:
        """The runs; None: padding costs less than they do."""
        lengths = valid.sum(1).tolist()
        found, row, column = list[Run](), 0, 0
        for length, same in groupby(lengths):
            count = len(list(same))
            found.append(Run(slice(row, row + count), slice(column, column + count * length), length))
            row, column = row + count, column + count * length
        spare = valid.numel() - column
        return None if spare * price <= RUN * (len(found) - 1) else [run for run in found if run.length]

    @property
    def rows(self) -> Tensor:
        """int64 [P]: the state of each column."""
        return self._index // self._shape[1]

    @property
    def columns(self) -> Tensor:
        """int64 [P]: the place of each column among the L of its state."""
        return self._index % self._shape[1]

    def pack(self, x: Tensor) -> Tensor:
        """Leave padding out: [M, L, …] becomes [1, P, …]."""
        return x.flatten(0, 1).index_select(0, self._index)[None]

    def unpack(self, x: Tensor) -> Tensor:
        """Put padding in, with zeros: [1, P, …] becomes [M, L, …]."""
        apart = x.new_zeros(self._shape.numel(), *x.shape[2:])
        return apart.index_copy_(0, self._index, x[0]).unflatten(0, self._shape)

    def apart(self, heads: Tensor) -> Tensor:
        """Put padding in queries, keys or values: [1, H, P, E] becomes [M, H, L, E], which would be left as it is."""
        return heads if len(heads) > 1 else self.unpack(heads.transpose(1, 2)).transpose(1, 2)

    def attention(self, attend: Attend, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of all columns, [1, P, …].

        Args:
            attend: computes it for some rows side by side.
            query: [1, H, P, E].
            key, value: [1, G, P, E], the columns' own; or [M, G, K, E].
            mask: bool [M, 1, L, K], with K = L if the keys are the columns' own; None: every query attends to all keys.
        """
        if self.runs is None:
            query, key, value = map(self.apart, (query, key, value))
            return self.pack(attend(query, key, value, mask, slice(0, self._shape[0])))
        parts = []
        for run, (allowed, keys) in zip(self.runs, self._allowed(mask, len(key) == 1), strict=True):
            mixed = attend(run.of(query), run.of(key)[:, :, :keys], run.of(value)[:, :, :keys], allowed, run.rows)
            parts.append(mixed.flatten(0, 1))
        return torch.cat(parts)[None]

    def _allowed(self, mask: Tensor | None, own: bool) -> list[tuple[Tensor | None, int]]:
        """For each run its part of the mask, None if every query attends to all keys, and how many keys it has.

        It is the same in all layers.
        """
        assert self.runs is not None
        if mask is None:
            return [(None, run.length) for run in self.runs]
        if self._masks is None or self._masks[0] is not mask:
            self._masks = (
                mask,
                [_cut(mask[run.rows, :, : run.length], run.length if own else None) for run in self.runs],
            )
        return self._masks[1]


def _cut(mask: Tensor, keys: int | None) -> tuple[Tensor | None, int]:
    """Cut bool [N, 1, L, K] behind the last key that a query attends to, or at `keys`; None: they attend to all."""
    if keys is None:
        keys = int(mask.flatten(0, 2).any(0).nonzero()[-1]) + 1
    mask = mask[..., :keys]
    return (None if mask.all() else mask), keys
