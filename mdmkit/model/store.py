"""What a backbone has stored of frozen columns, and what the loop does with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


class Store(dict[Any, tuple[Tensor, ...]]):
    """Tuples of tensors [size, …], by any key. The backbone fills it; a slot is an index of the first axis."""

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
