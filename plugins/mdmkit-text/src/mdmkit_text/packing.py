"""Rows of different lengths without their padding: the model gets their columns one behind another, as one row.

Its layers compute each column by itself, except for attention: there the rows stand side by side again, with padding.
On a CPU the time of a layer is nearly proportional to the number of its columns. On a GPU shapes that change with every
forward cost more than they save.

Shapes: M states, L columns each (shadow columns included), P of which are valid.
"""

from __future__ import annotations

from torch import Tensor


class Packing:
    """The valid columns of a forward of M > 1 rows; `valid` is bool [M, L]."""

    def __init__(self, valid: Tensor):
        self._shape = valid.shape
        self._index = valid.flatten().nonzero()[:, 0]  # on a CPU nobody waits for it

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
