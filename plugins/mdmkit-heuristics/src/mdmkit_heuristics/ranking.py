"""Positions in the order of their scores, and how many of them are eligible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from torch import Tensor


def check_frontier(select: str, frontier: int | None) -> None:
    """Refuse a frontier, as in arXiv:2608.05687, that holds no position.

    Raises:
        MdmkitError: it is below 1.
    """
    if frontier is not None and frontier < 1:
        raise MdmkitError(
            f"select {select}: frontier={frontier}: it is a number of positions, at least 1; null: all open positions."
        )


@dataclass(frozen=True)
class Ranking:
    """Each row's eligible positions, best first, and then the others.

    Attributes:
        order: int64 [B, W]; the column at each rank. The first column wins a tie.
        open: bool [B, W]; True if there is an eligible position at that rank.
        number: int64 [1, W]; 1 for the best, 2 for the next, …
    """

    order: Tensor
    open: Tensor
    number: Tensor

    @classmethod
    def of(cls, scores: Tensor, eligible: Tensor) -> Ranking:
        """Rank scores float [B, W] among eligible positions, bool [B, W]: all open ones, or some of them."""
        # An eligible position with −inf still ranks before all others.
        ranked = scores.clamp_min(torch.finfo(scores.dtype).min).masked_fill(~eligible, -torch.inf)
        order = ranked.argsort(dim=-1, descending=True, stable=True)
        number = torch.arange(1, eligible.shape[-1] + 1, device=eligible.device)[None]
        return cls(order, eligible.gather(-1, order), number)

    def sorted(self, values: Tensor) -> Tensor:
        """Values [B, W] by rank; 0 if there is no eligible position at that rank."""
        return torch.where(self.open, values.gather(-1, self.order), 0)

    def first(self, keep: Tensor) -> Tensor:
        """Mark the eligible positions, bool [B, W], before the first rank that is not kept; the best is always marked.

        `keep` is bool [B, W] by rank.
        """
        unbroken = (keep | (self.number == 1)).long().cumprod(-1).bool()
        return torch.zeros_like(self.open).scatter(-1, self.order, unbroken & self.open)
