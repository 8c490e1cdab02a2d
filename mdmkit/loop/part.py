"""The result of one call, cut to the columns that are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit import ops
from mdmkit.canvas.window import pick
from mdmkit.stage.hidden import FREE

if TYPE_CHECKING:
    from mdmkit.model.backbone import Backbone, Output


@dataclass(frozen=True)
class Part:
    """The result of one call.

    Attributes:
        hidden: [m, L, D]; under guidance that of both branches side by side, [m, L, 2·D].
        extra: by name, [m, …] or [m, L, …].
        shadow: [m, E, D], the hidden states of shadow columns.
    """

    hidden: Tensor
    extra: dict[str, Tensor]
    shadow: Tensor | None

    def cut(self, offsets: list[int], width: int, kinds: Mapping[str, str]) -> Part:
        """Cut out `width` columns of each state, from its offset on. Columns beyond the last have arbitrary values."""
        have, device = self.hidden.shape[1], self.hidden.device
        columns = [name for name in self.extra if kinds[name.removeprefix(FREE)] != "row"]
        if len(set(offsets)) == 1 and offsets[0] + width <= have:
            if offsets[0] == 0 and width == have:
                return self
            some = slice(offsets[0], offsets[0] + width)
            own = {name: self.extra[name][:, some] for name in columns}
            return Part(self.hidden[:, some], self.extra | own, self.shadow)
        index = ops.uploaded(offsets, device)[:, None] + torch.arange(width, device=device)
        index = index.clamp_max(have - 1)
        own = {name: pick(self.extra[name], index) for name in columns}
        return Part(pick(self.hidden, index), self.extra | own, self.shadow)


def part_of(
    backbone: Backbone,
    out: Output,
    extra: dict[str, Tensor],
    branches: int,
    side_by_side: Callable[[Tensor], Tensor],
    columns: int,
) -> Part:
    """Put the branches of guidance side by side.

    Args:
        extra: the extras of `out`.
        branches: 2 under guidance, otherwise 1.
        side_by_side: does so with hidden states.
        columns: T; extras of the kind `key` get this many.
    """
    shadow = extra.pop("shadow", None)
    for name, x in extra.items():
        if backbone.offers[name] == "key":
            extra[name] = functional.pad(x, (0, columns - x.shape[-1]))
    if branches == 2:
        halves = {name: x.chunk(2) for name, x in extra.items()}
        extra = {name: guided for name, (guided, _) in halves.items()}
        if backbone.feeds_back:
            extra |= {FREE + name: free for name, (_, free) in halves.items()}
    return Part(side_by_side(out.hidden), extra, None if shadow is None else side_by_side(shadow))


def gathered(parts: Sequence[Part], groups: Sequence[list[int]]) -> Part:
    """Put the results of several calls in the order of the states."""
    if len(parts) == 1:
        return parts[0]
    device = parts[0].hidden.device
    order = ops.uploaded([i for group in groups for i in group], device).argsort()

    def together(each: list[Tensor]) -> Tensor:
        return torch.cat(each)[order]

    shadows = [part.shadow for part in parts if part.shadow is not None]
    return Part(
        together([part.hidden for part in parts]),
        {name: together([part.extra[name] for part in parts]) for name in parts[0].extra},
        together(shadows) if shadows else None,
    )
