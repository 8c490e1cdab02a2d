"""Hidden states between the trunk and the head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Hidden:
    """Hidden states [M, L, D] of M next states, and the canvas column at which they start.

    `seen` is bool [M, V]: the tokens that each state holds, where the logit policy asks for them.
    """

    values: Tensor
    start: int
    seen: Tensor | None = None

    def at(self, span: slice) -> Tensor:
        return self.values[:, span.start - self.start : span.stop - self.start]

    def only(self, states: Tensor) -> Hidden:
        """Some of the states, int64 indices into M; one may be named more than once."""
        return Hidden(self.values[states], self.start, None if self.seen is None else self.seen[states])

    def chosen(self, states: Tensor, choice: Tensor, alternatives: int) -> Hidden:
        """Carry each row's chosen state on: [B, L, D].

        `states` int64 [M] are the flat indices into [B·N] that these belong to; `choice` int64 [B] counts from the
        row's own first alternative. A row whose choice is not among them is done; its entry is never read.
        """
        slot = torch.zeros(len(choice) * alternatives, dtype=torch.long, device=states.device)
        slot[states] = torch.arange(len(states), device=states.device)
        index = torch.arange(len(choice), device=states.device) * alternatives + choice
        return self.only(slot[index])

    def spread(self, rows: Tensor, total: int) -> Hidden:
        """Put the states at rows int64 [M] of `total`; zeros for the others."""

        def wide(values: Tensor) -> Tensor:
            return values.new_zeros(total, *values.shape[1:]).index_copy(0, rows, values)

        return Hidden(wide(self.values), self.start, None if self.seen is None else wide(self.seen))
