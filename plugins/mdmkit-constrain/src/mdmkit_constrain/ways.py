"""The answers of several states as ways through an automaton."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mdmkit import Window
from mdmkit_constrain import chain
from mdmkit_constrain.tables import Tables


@dataclass(frozen=True)
class Ways:
    """The answers of m states, L positions each, and the windows of S columns whose logits are known.

    Attributes:
        best: True: maxima replace sums.
        support: True: every weight is 0 or −inf, so it only matters which ways exist.
    """

    tables: Tables
    answer: Window
    window: Window
    tokens: Tensor
    open: Tensor
    infill: Tensor
    best: bool
    support: bool

    def places(self) -> tuple[Tensor, Tensor]:
        """The place in the answer of each column of the window, int64 [m, S]; and if it is one: bool [m, S]."""
        place = self.window.columns - self.answer.start[:, None]
        return place, self.window.member & (place >= 0) & (place < self.answer.member.sum(1)[:, None])

    def weights(self, known: Tensor) -> Tensor:
        """Weights of the classes at every position of the answers: [m, L, K], from `known` [m, S, K] in the windows.

        At open positions outside of its window nothing is known.
        """
        if self.support:
            known = torch.zeros_like(known).masked_fill(known == -torch.inf, -torch.inf)
        column = self.answer.columns - self.window.start[:, None]
        within = column.clamp(0, known.shape[1] - 1)
        seen = (column == within) & self.window.member.gather(1, within)
        open_ = torch.where(seen[..., None], at(known, column), chain.flat_weights(self.tables, self.best))
        fixed = chain.one_class(self.tables, self.tables.class_of[self.answer(self.tokens)])
        return torch.where(self.answer(self.open)[..., None], open_, fixed)

    def sums(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of all beginnings and of all endings, both [m, L + 1, Q]."""
        member, final = self.answer.member, self.tables.final & ~(self.infill[:, None] & self.tables.of_end)
        before = chain.forward(self.tables, weights, member, self.best)
        return before, chain.backward(self.tables, weights, member, final, self.best)


def at(values: Tensor, place: Tensor) -> Tensor:
    """Values [m, L, …] at the places int64 [m, S] of each row; places beyond the ends are those at the ends."""
    return values.gather(1, place.clamp(0, values.shape[1] - 1)[..., None].expand(-1, -1, values.shape[-1]))
