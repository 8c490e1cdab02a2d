"""What a model may remember between forwards: one policy per decode, named in the config.

A policy says, for each row by itself, which columns a forward computes and which stand frozen. What a frozen column is
(keys and values, for a transformer) is the backbone's affair. Columns that were not recomputed have no hidden states,
so no stage can average them in.

| policy | a step recomputes | frozen | exact |
|---|---|---|---|
| `none` | the whole row | nothing | yes |
| `prefix` | the block and all behind it | what is left of the block, as it was on entering it (arXiv:2505.22618) | no |
| `dual` | the block | both sides of it, as they were on entering it (arXiv:2505.22618) | no |
| `block` | the block | every finished block; for models whose attention ends with the block | yes |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor


@dataclass(frozen=True)
class Reach:
    """The columns of one row's forward.

    Attributes:
        start, stop: the columns [start, stop) are computed.
        left, right: the columns [0, left) and [right, …) stand frozen and are read; right None: none on that side.
        length: columns of the row.
        keep: whether what is computed is stored.
    """

    start: int
    stop: int
    left: int
    right: int | None
    length: int
    keep: bool = False

    @property
    def last(self) -> int:
        """Where what may be read ends."""
        return self.stop if self.right is None else self.length


@dataclass(frozen=True)
class View:
    """What a backbone's `forward` gets as `cache`: M rows, L computed columns each, S columns that may be read.

    A row computes the columns start + 0 … start + L − 1 as far as they are live. Its queries attend to the live ones
    and to those that are `seen`, which `store` holds.

    Attributes:
        store: the backbone's own to fill, one as long as the loop lives: tuples of tensors [size, …].
        slots: int64 [M]; the place of each row in the store.
        size: how many places there are.
        width: columns that a place has room for.
        start: int64 [M].
        live: bool [M, L]; a column that is not live is no key, is stored nowhere, and has no meaning.
        seen: bool [M, S]; frozen columns that may be read.
        readable: bool [M, S]; `seen`, and the live columns.
        keep: bool [M]; rows whose live columns are to be stored.
        span: the computed columns, where all rows share them and all are live; None elsewhere.
        reads: whether any row reads the store.
        keeps: whether all rows are stored, none, or (None) some.
    """

    store: dict[Any, tuple[Tensor, ...]]
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


class Cache:
    """The policy `none`, and the interface of every other.

    Args:
        lead: how many columns to the left of a block its logits hang on (1 for a model with shifted logits); they are
            recomputed with it.
        refresh_every: steps within a block after which everything is computed afresh; None: only on entering it.

    Attributes:
        keeps: whether anything is ever frozen.
        approximate: whether what is frozen would change if it were computed again.
    """

    name: ClassVar[str] = "none"
    keeps: ClassVar[bool] = False
    approximate: ClassVar[bool] = False

    def __init__(self, lead: int = 0, refresh_every: int | None = None):
        self.lead, self.refresh_every = lead, refresh_every

    def due_for_refresh(self, steps: int) -> bool:
        """Whether the frozen columns have served this many steps of the block and are to be computed afresh."""
        return self.refresh_every is not None and steps % self.refresh_every == 0

    def step(self, low: int, high: int, length: int) -> Reach:
        """The reach of a step of a row of so many columns, whose block's own columns are [low, high)."""
        return Reach(0, length, 0, None, length)

    def enter(self, low: int, high: int, length: int, final: int) -> Reach:
        """The reach of a row's first forward in a block; its columns [0, final) were stored for good."""
        return Reach(0, length, 0, None, length, self.keeps)

    def final(self, low: int) -> int:
        """Columns that are stored for good once a block that begins at `low` was entered."""
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
    """What a finished block says never changes, so its one forward is shared with the next block's first.

    Nothing right of the block is ever read, so nothing there is computed.
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


# `auto` is the model's own exact choice.
AUTO = "auto"
CACHES: dict[str, type[Cache]] = {policy.name: policy for policy in (Cache, Prefix, Dual, Finished)}
