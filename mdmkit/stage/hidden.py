"""Hidden states between the trunk and the head."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mdmkit.canvas.window import Window


@dataclass(frozen=True)
class Hidden:
    """Hidden states [M, L, D] of M states, each from a column of its own on.

    Attributes:
        values: [M, L, D].
        start: int64 [M]; the column of the row at which they begin.
        same: that column, where all states share it.
        held: bool [M, V]; the tokens that each state holds, where the logit policy asks for them.
        extra: what else the model gave: [M, L, …] by name, or [M, …] under a name of `whole`.
        whole: names of `extra` that are of whole rows.
        shadow: [M, E, D]; the hidden states of shadow columns, which stand for the columns of each state's block.
    """

    values: Tensor
    start: Tensor
    same: int | None
    held: Tensor | None = None
    extra: dict[str, Tensor] | None = None
    whole: frozenset[str] = frozenset()
    shadow: Tensor | None = None

    @property
    def width(self) -> int:
        return self.values.shape[1]

    def window(self, where: Window) -> Tensor:
        """What stands in each row's window: [M, W, D]; columns outside what was computed hold anything."""
        return self._gathered(self.values, where)

    def extras(self, where: Window) -> dict[str, Tensor] | None:
        """The extras in each row's window, by name."""
        if self.extra is None:
            return None
        return {name: x if name in self.whole else self._gathered(x, where) for name, x in self.extra.items()}

    def _gathered(self, x: Tensor, where: Window) -> Tensor:
        if self.same is not None and where.same is not None:
            offset = where.same - self.same
            if offset >= 0 and offset + where.width <= self.width:
                return x[:, offset : offset + where.width]
        index = (where.columns - self.start[:, None]).clamp(0, self.width - 1)
        index = index.view(*index.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
        return x.gather(1, index)

    def at(self, states: Tensor) -> Hidden:
        """Some of the states, int64 indices into M; one may be named more than once."""
        held = None if self.held is None else self.held[states]
        extra = None if self.extra is None else {name: x[states] for name, x in self.extra.items()}
        shadow = None if self.shadow is None else self.shadow[states]
        values, start = self.values[states], self.start[states]
        return replace(self, values=values, start=start, held=held, extra=extra, shadow=shadow)

    def joined(self, count: int) -> Hidden:
        """The same states, and `count` more of which nothing is known."""

        def more(x: Tensor) -> Tensor:
            return torch.cat((x, x.new_zeros(count, *x.shape[1:])))

        held = None if self.held is None else more(self.held)
        extra = None if self.extra is None else {name: more(x) for name, x in self.extra.items()}
        shadow = None if self.shadow is None else more(self.shadow)
        return replace(self, values=more(self.values), start=more(self.start), held=held, extra=extra, shadow=shadow)
