"""Values that stages remember for each row from step to step. The loop clears, moves and frees them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit.canvas.window import Window
from mdmkit.errors import MdmkitError, unknown

Like = Literal["row", "column", "window"]
Until = Literal["row", "block"]
_TYPES = {bool: torch.bool, int: torch.int64, float: torch.float32}


@dataclass(frozen=True)
class Kept:
    """One name's values for all rows at work.

    Attributes:
        value: [R, …] for `row`; [R, T, …] for `column`, and for `window` until `row`; [R, W, …] for `window` until
            `block`, with columns counted from the start of the row's block.
        like: `row`, `column` or `window`.
        fill: the value for a row that has just joined; with `until` = `block`, also for one that has entered a block.
        until: `row`: the value lasts as long as the row; `block`: as long as the row is in its block.
        shape: of one row's, or one column's, value.
    """

    value: Tensor
    like: Like
    fill: bool | int | float
    until: Until
    shape: tuple[int, ...] = ()

    @property
    def local(self) -> bool:
        """True if columns are counted from the start of the row's block."""
        return self.like == "window" and self.until == "block"


@dataclass
class Memory:
    """The values of `rows` rows, by name. `shared` holds values that are the same for all rows."""

    rows: int = 0
    shared: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)

    def take(self, rows: Tensor) -> None:
        """Keep the rows int64 [R'], in this order."""
        self.rows = len(rows)
        for name, each in self.kept.items():
            self.kept[name] = replace(each, value=each.value[rows])

    def follow(self, rows: Tensor, kept: set[str]) -> None:
        """Copy values to each row from its parent, rows int64 [R]; names in `kept` are in their new rows already."""
        for name, each in self.kept.items():
            if name not in kept:
                self.kept[name] = replace(each, value=each.value[rows])

    def join(self, count: int) -> None:
        """Add `count` rows at the end; they read `fill`."""
        self.rows += count
        for name, each in self.kept.items():
            new = each.value.new_full((count, *each.value.shape[1:]), each.fill)
            self.kept[name] = replace(each, value=torch.cat((each.value, new)))

    def enter_block(self, rows: Tensor) -> None:
        """Reset the values with `until` = `block` of rows int64 [M], which have entered a block."""
        for name, each in self.kept.items():
            if each.until == "block":
                self.kept[name] = replace(each, value=each.value.index_fill(0, rows, each.fill))

    def of(self, rows: Tensor | None) -> Mapping[str, Tensor]:
        """The values of rows int64 [M], or of all rows if None, by name."""
        return {name: each.value if rows is None else each.value[rows] for name, each in self.kept.items()}


@dataclass
class Recall:
    """The memory as one step sees it.

    Attributes:
        memory: the memory of all R rows at work.
        rows: int64 [B]; the step's rows among them; None: all rows, in their order.
        window: the step's window.
        columns: T.
        only: bool [B]; rows whose values `keep` may change; None: all.
        kept: names that were kept through this view. A search has kept them in the order of the new particles.
    """

    memory: Memory
    rows: Tensor | None
    window: Window
    columns: int
    only: Tensor | None = None
    kept: set[str] = field(default_factory=set)

    @contextlib.contextmanager
    def limited(self, only: Tensor | None) -> Iterator[None]:
        """Meanwhile, `keep` changes the rows bool [B] only; None: all. The step and what it has computed stay."""
        before, self.only = self.only, only
        try:
            yield
        finally:
            self.only = before

    def get(
        self,
        name: str,
        like: Like = "row",
        fill: bool | int | float = 0,
        shape: tuple[int, ...] = (),
        until: Until = "row",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """See `Step.recall`."""
        each = self.memory.kept.get(name)
        if each is None:
            if like not in ("row", "column", "window") or until not in ("row", "block") or type(fill) not in _TYPES:
                raise MdmkitError(
                    f"recall({name!r}): like={like!r}, until={until!r}, fill={fill!r}. `like` is row, column or "
                    "window, `until` is row or block, and `fill` is a number or a bool."
                )
            each = self._blank(name, like, fill, shape, until, dtype)
        asked = {"like": like, "fill": fill, "shape": tuple(shape), "until": until, "dtype": _kind(fill, dtype)}
        made = {
            "like": each.like,
            "fill": each.fill,
            "shape": each.shape,
            "until": each.until,
            "dtype": each.value.dtype,
        }
        if odd := [key for key in asked if asked[key] != made[key] and not (asked[key] != asked[key])]:  # NaN is itself
            raise MdmkitError(
                f"recall({name!r}) asks for {odd[0]}={asked[odd[0]]!r}, and it was made with {odd[0]}="
                f"{made[odd[0]]!r}: two stages use one name, or one asks in two ways. Begin the name with that of your "
                "part, and ask for it in the same way everywhere."
            )
        return self._read(each)

    def _read(self, each: Kept) -> Tensor:
        value = each.value if self.rows is None else each.value[self.rows]
        if each.like == "row":
            return value
        if each.local:
            return _sized(value, self.window.width, each.fill)
        wide = _sized(value, self.columns, each.fill)
        return self.window(wide) if each.like == "window" else wide

    def put(self, name: str, value: Tensor) -> None:
        """See `Step.keep`."""
        each = self.memory.kept.get(name)
        if each is None:
            raise MdmkitError(
                f"keep({name!r}) comes before recall({name!r}, …), which says what a row reads that has just joined. "
                + unknown("name", name, self.memory.kept)
            )
        before = self._read(each)
        if not isinstance(value, Tensor) or value.shape != before.shape:
            got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise MdmkitError(f"keep({name!r}) was given {got}, and recall({name!r}) gives {list(before.shape)}.")
        value = value.to(before.dtype)
        if self.only is not None:
            value = torch.where(self.only.view(-1, *[1] * (value.dim() - 1)), value, before)
        stored = each.value
        if each.like == "window" and not each.local:
            own = _sized(stored if self.rows is None else stored[self.rows], self.columns, each.fill)
            value = self.window.put(own, value)
        if each.like != "row":
            width = max(stored.shape[1], value.shape[1])
            stored, value = _sized(stored, width, each.fill), self._widened(stored, value, width)
        if self.rows is not None:
            value = stored.index_copy(0, self.rows, value)
        self.memory.kept[name] = replace(each, value=value)
        self.kept.add(name)

    def _widened(self, stored: Tensor, value: Tensor, width: int) -> Tensor:
        """Widen `value` to `width` columns; the added columns keep the stored values."""
        if value.shape[1] == width:
            return value
        own = stored if self.rows is None else stored[self.rows]
        return torch.cat((value, own[:, value.shape[1] : width]), 1)

    def _blank(
        self, name: str, like: Like, fill: bool | int | float, shape: tuple[int, ...], until: Until, dtype: Any
    ) -> Kept:
        columns = {"row": (), "column": (self.columns,)}.get(like)
        if columns is None:
            columns = (self.window.width if until == "block" else self.columns,)
        size = (self.memory.rows, *columns, *shape)
        value = torch.full(size, fill, dtype=_kind(fill, dtype), device=self.window.start.device)
        each = self.memory.kept[name] = Kept(value, like, fill, until, tuple(shape))
        return each


def _kind(fill: bool | int | float, dtype: torch.dtype | None) -> Any:
    return dtype or _TYPES.get(type(fill))


def _sized(value: Tensor, columns: int, fill: Any) -> Tensor:
    """Cut or pad values [B, C, …] to `columns` columns."""
    more = columns - value.shape[1]
    if more == 0:
        return value
    if more < 0:
        return value[:, :columns]
    return functional.pad(value, (*[0] * (2 * (value.dim() - 2)), 0, more), value=fill)
