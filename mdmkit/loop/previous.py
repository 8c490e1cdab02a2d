"""What a model with `feeds_back` said of each row's last state: its next forward gets it as `previous`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit.canvas.window import pick
from mdmkit.stage.hidden import FREE, Hidden

if TYPE_CHECKING:
    from mdmkit.loop.calls import Call


class Previous:
    """The extras of all rows at work, by name: [R, …] for `row`, [R, T, …] for `column` and `key`; 0 if never said.

    Under guidance both branches have their own: those of the branch without prompt have names that begin with `FREE`.

    Args:
        kinds: `Backbone.offers`.
    """

    def __init__(self, kinds: Mapping[str, Literal["row", "column", "key"]]):
        self.kinds, self.rows = kinds, 0
        self.kept: dict[str, Tensor] = {}

    def join(self, count: int) -> None:
        """Add `count` rows, of which nothing has been said."""
        self.rows += count
        self.kept = {name: torch.cat((x, x.new_zeros(count, *x.shape[1:]))) for name, x in self.kept.items()}

    def take(self, rows: Tensor) -> None:
        """Keep rows int64 [R'], in this order; an index may occur several times."""
        self.rows = len(rows)
        self.kept = {name: x[rows] for name, x in self.kept.items()}

    def put(self, said: Hidden, source: Tensor, columns: int) -> None:
        """Keep what was said of the states source int64 [R]; −1: nothing new of this row. `columns` is T."""
        new, index = source >= 0, source.clamp_min(0)
        for name, x in (said.extra or {}).items():
            kind, now = self.kinds[name.removeprefix(FREE)], x[index]
            known = new
            if kind != "row":
                place = torch.arange(columns, device=x.device)
                start, stop = (each[index][:, None] for each in (said.start, said.stop))
                known = new[:, None] & (place >= start) & (place < stop)
                now = pick(now, (place - start).clamp(0, x.shape[1] - 1))
            before = self.kept.get(name)
            before = torch.zeros_like(now) if before is None else _sized(before, now.shape, kind)
            self.kept[name] = torch.where(known.view(*known.shape, *[1] * (now.dim() - known.dim())), now, before)

    def of(self, rows: Tensor, call: Call, branches: int) -> dict[str, Tensor] | None:
        """What was said of rows int64 [m] at a call's columns; under guidance of both branches, one after the other."""
        if not self.kept:
            return None
        return {name: self._of(name, rows, call, branches) for name in self.kept if not name.startswith(FREE)}

    def _of(self, name: str, rows: Tensor, call: Call, branches: int) -> Tensor:
        both = [self.kept[name], *([self.kept[FREE + name]] if branches == 2 else [])]
        out = [x[rows] for x in both]
        if self.kinds[name] != "row":
            inside = call.columns < both[0].shape[1]
            index = call.columns.clamp_max(both[0].shape[1] - 1)
            out = [pick(x, index) for x in out]
            out = [torch.where(inside.view(*inside.shape, *[1] * (x.dim() - 2)), x, 0) for x in out]
        return out[0] if len(out) == 1 else torch.cat(out)


def _sized(x: Tensor, shape: torch.Size, kind: str) -> Tensor:
    """Pad columns, and for `key` also the last axis, to a shape that is at least as wide."""
    if kind == "row" or x.shape == shape:
        return x
    last = shape[-1] - x.shape[-1] if kind == "key" else 0
    inner = x.dim() - 2 - (kind == "key")
    pads = [0, last] * (kind == "key") + [0, 0] * inner + [0, shape[1] - x.shape[1]]
    return functional.pad(x, pads)
