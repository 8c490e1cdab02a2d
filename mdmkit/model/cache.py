"""What a model may remember between forwards: one policy per decode, named in the config.

A policy decides, at each forward, which columns are recomputed and which stand frozen. What a frozen column is (keys
and values, for a transformer) is the backbone's affair. Columns that were not recomputed have no hidden states, so no
stage can average them in.

| policy | a step recomputes | frozen | exact |
|---|---|---|---|
| `none` | the whole row | nothing | yes |
| `prefix` | the block and all behind it | what is left of the block, as it was on entering it (arXiv:2505.22618) | no |
| `dual` | the block | both sides of it, as they were on entering it (arXiv:2505.22618) | no |
| `block` | the block | every finished block; for models whose attention ends with the block | yes |
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mdmkit.canvas.blocks import Block


@dataclass(frozen=True)
class Reach:
    """The columns of one forward: `columns` are recomputed, `left` and `right` of them stand frozen."""

    left: slice
    columns: slice
    right: slice


@dataclass(frozen=True)
class View:
    """What a backbone's `forward` gets as `cache`.

    Attributes:
        store: the backbone's own to fill, one for the whole decode: tuples of tensors whose first dimension is places.
        slots: int64 [M]; the place of each row in the store.
        size: how many places there are.
        width: T, the columns of a whole row.
        reach: which columns are forwarded, and which must be read from the store.
        keep: whether the forwarded columns must be put into the store.
    """

    store: dict[Any, tuple[Tensor, ...]]
    slots: Tensor
    size: int
    width: int
    reach: Reach
    keep: bool


class Cache:
    """The policy `none`, and the interface of every other.

    Args:
        lead: how many columns to the left of a window its logits hang on (1 for a model with shifted logits); they
            are recomputed with it.
        refresh_every: steps within a block after which everything is computed afresh; None: only on entering it.

    Attributes:
        keeps: whether anything is ever frozen.
        approximate: whether what is frozen would change if it were computed again.
        stale: whether the next forward computes everything afresh.
    """

    name: ClassVar[str] = "none"
    keeps: ClassVar[bool] = False
    approximate: ClassVar[bool] = False

    def __init__(self, lead: int = 0, refresh_every: int | None = None):
        self.lead, self.refresh_every = lead, refresh_every
        self.store: dict[Any, tuple[Tensor, ...]] = {}
        self.stale = False

    def enter_block(self, block: Block) -> None:
        """Hear that decoding moved on to a block: the moment to refresh."""

    def tired(self, steps: int) -> bool:
        """Whether the frozen columns have served this many steps of the block and are to be computed afresh."""
        return self.refresh_every is not None and steps % self.refresh_every == 0

    def reaches(self, rows: Sequence[int], width: int) -> list[tuple[Reach, list[int]]]:
        """Group rows of `width` columns, by their index in the canvas, by what their next forward reaches.

        Returns:
            Each reach with the places in `rows` that share it.
        """
        return [(_whole(width), list(range(len(rows))))]

    def follow(self, parents: Tensor) -> None:
        """Let what is stored follow rows that moved: place s now is what place parents[s], int64, was."""
        for key, kept in self.store.items():
            self.store[key] = tuple(each[parents] for each in kept)

    def refreshed(self, rows: Sequence[int]) -> None:
        """Hear that these rows were computed afresh."""

    def recomputed(self, width: int) -> Tensor | None:
        """bool [B, T] on the host: the columns that a step recomputes; None: all of them."""
        return None


class Windowed(Cache):
    """A policy that freezes what lies outside each row's own window, so that rows do not hang on their neighbours."""

    keeps = True

    def __init__(self, lead: int = 0, refresh_every: int | None = None):
        super().__init__(lead, refresh_every)
        self._windows: list[tuple[int, int]] = []
        self._frozen: list[int] = []

    def enter_block(self, block: Block) -> None:
        self._frozen = self._frozen or [0] * len(block.windows)
        self._windows, self.stale = list(block.windows), True

    def reaches(self, rows: Sequence[int], width: int) -> list[tuple[Reach, list[int]]]:
        groups: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            groups[(*self._windows[row], self._frozen[row])].append(place)
        reach = self._refresh if self.stale else self._step
        return [
            (reach(max(0, start - self.lead), stop, done, width), places)
            for (start, stop, done), places in groups.items()
        ]

    def refreshed(self, rows: Sequence[int]) -> None:
        self.stale = False

    def recomputed(self, width: int) -> Tensor | None:
        columns = torch.arange(width)
        spans = [self._step(start, stop, 0, width).columns for start, stop in self._windows]
        return torch.stack([(columns >= span.start) & (columns < span.stop) for span in spans])

    def _refresh(self, start: int, stop: int, done: int, width: int) -> Reach:
        return _whole(width)

    @abstractmethod
    def _step(self, start: int, stop: int, done: int, width: int) -> Reach:
        """The reach of a step whose window is [start, stop), in a row whose first `done` columns are final."""


class Prefix(Windowed):
    name = "prefix"
    approximate = True

    def _step(self, start: int, stop: int, done: int, width: int) -> Reach:
        return Reach(slice(0, start), slice(start, width), slice(width, width))


class Dual(Windowed):
    name = "dual"
    approximate = True

    def _step(self, start: int, stop: int, done: int, width: int) -> Reach:
        return Reach(slice(0, start), slice(start, stop), slice(stop, width))


class Finished(Windowed):
    """What a finished block says never changes, so its one forward is shared with the next block's first.

    Nothing right of the block is ever read, so nothing there is computed.
    """

    name = "block"

    def refreshed(self, rows: Sequence[int]) -> None:
        super().refreshed(rows)
        for row in rows:
            self._frozen[row] = max(0, self._windows[row][0] - self.lead)

    def _refresh(self, start: int, stop: int, done: int, width: int) -> Reach:
        return Reach(slice(0, done), slice(done, stop), slice(stop, stop))

    def _step(self, start: int, stop: int, done: int, width: int) -> Reach:
        return Reach(slice(0, start), slice(start, stop), slice(stop, stop))


def _whole(width: int) -> Reach:
    return Reach(slice(0, 0), slice(0, width), slice(width, width))


# `auto` is the model's own exact choice.
AUTO = "auto"
CACHES: dict[str, type[Cache]] = {policy.name: policy for policy in (Cache, Prefix, Dual, Finished)}
