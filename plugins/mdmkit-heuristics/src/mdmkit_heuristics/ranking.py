"""Positions in the order of their scores, for rules that fill the first positions of the ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ranking:
    """Each row's open positions, best first, and then the others.

    Attributes:
        order: int64 [B, W]; the column at each rank. The first column wins a tie.
        open: bool [B, W]; True if there is an open position at that rank.
        number: int64 [1, W]; 1 for the best, 2 for the next, …
    """

    order: Tensor
    open: Tensor
    number: Tensor

    @classmethod
    def of(cls, scores: Tensor, open_: Tensor) -> Ranking:
        """Rank scores float [B, W] among the open positions bool [B, W]."""
        # An open position with −inf still ranks before all positions that are not open.
        ranked = scores.clamp_min(torch.finfo(scores.dtype).min).masked_fill(~open_, -torch.inf)
        order = ranked.argsort(dim=-1, descending=True, stable=True)
        number = torch.arange(1, open_.shape[-1] + 1, device=open_.device)[None]
        return cls(order, open_.gather(-1, order), number)

    def sorted(self, values: Tensor) -> Tensor:
        """Values [B, W] by rank; 0 if there is no open position at that rank."""
        return torch.where(self.open, values.gather(-1, self.order), 0)

    def first(self, keep: Tensor) -> Tensor:
        """Mark the open positions, bool [B, W], before the first rank that is not kept; the best is always marked.

        `keep` is bool [B, W] by rank.
        """
        unbroken = (keep | (self.number == 1)).long().cumprod(-1).bool()
        return torch.zeros_like(self.open).scatter(-1, self.order, unbroken & self.open)
