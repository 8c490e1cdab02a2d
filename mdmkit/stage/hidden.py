"""Hidden states between the trunk and the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit.canvas.window import Window, pick

# Begins the names of extras of the branch without prompt; only the model reads them.
FREE = "without prompt: "


@dataclass(frozen=True)
class Hidden:
    """Hidden states [M, L, D] of M states. Each state has its own first column.

    Attributes:
        values: [M, L, D].
        start, stop: int64 [M]; the columns [start, stop) of each state were computed; others have arbitrary values.
        same: the first column, if it is the same for all states.
        held: bool [M, V]; the tokens that each state holds; None if the logit policy does not need them.
        extra: the model's extras by name: [M, L, …], or [M, …] for one value per row.
        kinds: `Backbone.offers`: `row`, `column` or `key`, by name.
        shadow: [M, E, D]; the hidden states of the shadow columns, one for each column of the state's block.
    """

    values: Tensor
    start: Tensor
    stop: Tensor
    same: int | None
    held: Tensor | None = None
    extra: dict[str, Tensor] | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    shadow: Tensor | None = None

    @property
    def width(self) -> int:
        return self.values.shape[1]

    def window(self, where: Window) -> Tensor:
        """Gather each row's window: [M, W, D]. Columns that were not computed get arbitrary values."""
        return self._gathered(self.values, where)

    def extras(self, where: Window, columns: int) -> dict[str, Tensor] | None:
        """Gather the extras of each row's window, by name: [M, …], [M, W, …], or [M, W, …, T] for `key`."""
        if self.extra is None:
            return None
        out = {}
        for name, x in self.extra.items():
            if name.startswith(FREE):
                continue
            out[name] = x if self.kinds[name] == "row" else self._gathered(x, where)
            if self.kinds[name] == "key":
                out[name] = functional.pad(out[name], (0, columns - x.shape[-1]))
        return out

    def _gathered(self, x: Tensor, where: Window) -> Tensor:
        if self.same is not None and where.same is not None:
            offset = where.same - self.same
            if offset >= 0 and offset + where.width <= self.width:
                return x[:, offset : offset + where.width]
        return pick(x, (where.columns - self.start[:, None]).clamp(0, self.width - 1))

    def at(self, states: Tensor) -> Hidden:
        """Some of the states, int64 indices into M; an index may occur several times."""
        held = None if self.held is None else self.held[states]
        extra = None if self.extra is None else {name: x[states] for name, x in self.extra.items()}
        shadow = None if self.shadow is None else self.shadow[states]
        values, start, stop = (x[states] for x in (self.values, self.start, self.stop))
        return replace(self, values=values, start=start, stop=stop, held=held, extra=extra, shadow=shadow)

    def joined(self, count: int) -> Hidden:
        """The same states, and `count` more, filled with zeros."""

        def more(x: Tensor) -> Tensor:
            return torch.cat((x, x.new_zeros(count, *x.shape[1:])))

        held = None if self.held is None else more(self.held)
        extra = None if self.extra is None else {name: more(x) for name, x in self.extra.items()}
        shadow = None if self.shadow is None else more(self.shadow)
        values, start, stop = (more(x) for x in (self.values, self.start, self.stop))
        return replace(self, values=values, start=start, stop=stop, held=held, extra=extra, shadow=shadow)
