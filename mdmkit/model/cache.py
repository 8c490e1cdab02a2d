"""Caches: which columns a forward computes, and which are stored between forwards. The config names one per decode.

A cache decides this for each row separately. The backbone decides what it stores for a frozen column (keys and values,
for a transformer). Columns that were not recomputed have no hidden states, so no stage can read them.

| cache | a step recomputes | frozen | exact |
|---|---|---|---|
| `none` | the whole row | nothing | yes |
| `prefix` | the block and all to its right | all to its left, as it was when the row entered (arXiv:2505.22618) | no |
| `dual` | the block | both sides of it, as they were when the row entered (arXiv:2505.22618) | no |
| `block` | the block | every finished block; for models whose attention ends with the block | yes |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mdmkit.model.store import Store


@dataclass(frozen=True)
class Reach:
    """The columns of one row's forward.

    Attributes:
        start, stop: the columns [start, stop) are computed.
        left, right: the columns [0, left) and [right, …) are frozen and are read; right None: none on this side.
        length: columns of the row.
        keep: True if the computed columns are stored.
    """

    start: int
    stop: int
    left: int
    right: int | None
    length: int
    keep: bool = False

    @property
    def last(self) -> int:
        """The end of the columns that may be read."""
        return self.stop if self.right is None else self.length


@dataclass(frozen=True)
class View:
    """The argument `cache` of a backbone's `forward`: M rows, L computed columns each, S columns that may be read.

    A row computes those of the columns start + 0 … start + L − 1 that are live. Its queries attend to the live columns,
    and to the columns `seen`, which are in `store`.

    Attributes:
        store: filled by the backbone; it lasts as long as the loop.
        slots: int64 [M]; the index of each row in the store.
        size: the number of slots.
        width: the number of columns of a slot.
        start: int64 [M].
        live: bool [M, L]; a column that is not live is not a key, is not stored, and has no meaning.
        seen: bool [M, S]; frozen columns that may be read.
        readable: bool [M, S]; `seen` and the live columns.
        keep: bool [M]; rows whose live columns must be stored.
        span: the computed columns as a slice, if they are the same for all rows and all are live; else None.
        reads: True if any row reads the store.
        keeps: True: all rows are stored; False: none; None: some.
        first: the slots are first + 0 … first + M − 1, in this order; None: they are others. The backbone may then
            write the live columns into the store and read it there, without a copy: no other row reads them.
        numbers: `slots` on the host, M numbers. Equal ones stand side by side: they are the alternatives of a row, and
            see the same columns. None: not known.
        starts: `start` on the host, M numbers, if every row computes all L columns and may read all S: only attention
            by blocks needs a mask. None: some columns are not live, or may not be read.
    """

    store: Store
    slots: Tensor
    size: int
    width: int
    start: Tensor
    live: Tensor
    seen: Tensor
    readable: Tensor
    keep: Tensor
    span: slice | None
    reads: bool
    keeps: bool | None
    first: int | None = None
    starts: tuple[int, ...] | None = None
    numbers: tuple[int, ...] | None = None


class Cache:
    """The cache `none`, and the interface of all caches.

    Args:
        lead: how many columns to the left of a block its logits need (1 for a model with shifted logits); they are
            recomputed with the block.
        refresh_every: after this many steps in a block everything is computed again; None: only when a row enters it.

    Attributes:
        keeps: True if columns are ever frozen.
        approximate: True if frozen columns would change if they were computed again.
    """

    name: ClassVar[str] = "none"
    keeps: ClassVar[bool] = False
    approximate: ClassVar[bool] = False

    def __init__(self, lead: int = 0, refresh_every: int | None = None):
        self.lead, self.refresh_every = lead, refresh_every

    def due_for_refresh(self, steps: int) -> bool:
        """Return True when `refresh_every` steps of the block have passed."""
        return self.refresh_every is not None and steps % self.refresh_every == 0

    def step(self, low: int, high: int, length: int) -> Reach:
        """The reach of a step; the row has `length` columns, and its block the columns [low, high)."""
        return Reach(0, length, 0, None, length)

    def enter(self, low: int, high: int, length: int, final: int) -> Reach:
        """The reach of a row's first forward in a block; its columns [0, final) are stored and will not change."""
        return Reach(0, length, 0, None, length, self.keeps)

    def final(self, low: int) -> int:
        """How many columns are stored and will not change, after a row has entered the block that begins at `low`."""
        return 0


class Prefix(Cache):
    name = "prefix"
    keeps = True
    approximate = True

    def step(self, low: int, high: int, length: int) -> Reach:
        start = max(0, low - self.lead)
        return Reach(start, length, start, None, length)


class Dual(Cache):
    name = "dual"
    keeps = True
    approximate = True

    def step(self, low: int, high: int, length: int) -> Reach:
        start = max(0, low - self.lead)
        return Reach(start, high, start, high, length)


class Finished(Cache):
    """The cache `block`: a finished block never changes. It is stored in the same forward as the next block's first.

    Columns to the right of the block are never read, so they are not computed.
    """

    name = "block"
    keeps = True

    def step(self, low: int, high: int, length: int) -> Reach:
        start = max(0, low - self.lead)
        return Reach(start, high, start, None, length)

    def enter(self, low: int, high: int, length: int, final: int) -> Reach:
        return Reach(final, high, final, None, length, True)

    def final(self, low: int) -> int:
        return max(0, low - self.lead)


# `auto`: the model chooses an exact cache.
AUTO = "auto"
CACHES: dict[str, type[Cache]] = {policy.name: policy for policy in (Cache, Prefix, Dual, Finished)}
