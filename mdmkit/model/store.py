"""What a backbone has stored of frozen columns, and what the loop does with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class Store(dict[Any, tuple[Tensor, ...]]):
    """Tuples of tensors [size, …], by any key. The backbone fills it; a slot is an index of the first axis.

    Args:
        columns: the axis of all tensors that counts columns, 1 or more. None: columns cannot be taken out one by one.
    """

    def __init__(self, columns: int | None = None):
        super().__init__()
        self.columns = columns

    def wipe(self, slots: Sequence[int]) -> None:
        """Set what is stored in some slots to 0."""
        for kept in self.values():
            for each in kept:
                each[slots] = 0

    def follow(self, slots: Tensor, sources: Tensor) -> None:
        """Copy what is stored, int64 [R] each: into slots[i] goes what stood in sources[i] before."""
        for kept in self.values():
            for each in kept:
                each.index_copy_(0, slots, each[sources])

    @torch.inference_mode()
    def take(self, slot: int, start: int, stop: int) -> Tensor | None:
        """Return the columns [start, stop) of a slot as bytes, uint8 [stop − start, bytes of a column].

        None: the store is empty, or does not know its columns.
        """
        if self.columns is None or not self:
            return None
        parts = [each[slot].narrow(self.columns - 1, start, stop - start) for kept in self.values() for each in kept]
        flat = [part.movedim(self.columns - 1, 0).reshape(stop - start, -1) for part in parts]
        return torch.cat([each.contiguous().view(torch.uint8) for each in flat], 1)

    @torch.inference_mode()
    def put(self, slot: int, columns: Tensor) -> bool:
        """Write what `take` returned into a slot, from column 0 on. False: the store has no place for it yet."""
        if self.columns is None or not self:
            return False
        count, done = len(columns), 0
        for key, kept in self.items():
            short = count - kept[0].shape[self.columns]
            if short > 0:
                ends = (0, 0) * (kept[0].dim() - 1 - self.columns)
                kept = self[key] = tuple(functional.pad(each, (*ends, 0, short)) for each in kept)
            for each in kept:
                place = each[slot].narrow(self.columns - 1, 0, count).movedim(self.columns - 1, 0)
                size = place[0].numel() * place.element_size()
                part = columns[:, done : done + size].contiguous().view(each.dtype)
                place.copy_(part.view(place.shape))
                done += size
        return True
