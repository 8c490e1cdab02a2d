"""Frozen columns as keys and values: how transformers' attention reads them without a change to any model class.

A model's attention hands its new keys and values to a cache layer and attends to what it gets back. This one gives
back the frozen ones left of the window, the new ones, and the frozen ones right of it. Keys carry their rotary position
already, so the order of columns is all that has to be kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

if TYPE_CHECKING:
    from mdmkit import View


class FrozenLayer(CacheLayerMixin):
    """One layer's keys and values [M, heads, columns, D] around the window of a forward."""

    def __init__(self, view: View, layer: int):
        super().__init__()
        self._view, self._layer = view, layer

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to prepare: the store is made by the first forward that keeps something."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Put the frozen columns around the new ones, and keep the new ones where the forward is to be remembered."""
        new = key_states, value_states
        view, reach = self._view, self._view.reach
        if view.keep:
            stored = view.store.get(self._layer)
            if stored is None:
                # Zeros, since attention's weight of 0 for padding that was never computed must not meet a NaN.
                stored = tuple(each.new_zeros(view.size, each.shape[1], view.width, each.shape[3]) for each in new)
                view.store[self._layer] = stored
            for kept, each in zip(stored, new, strict=True):
                kept[view.slots, :, reach.columns] = each
        around = [side for side in (reach.left, reach.right) if side.stop > side.start]
        if not around:
            return new
        return self._around(0, key_states), self._around(1, value_states)

    def _around(self, which: int, new: Tensor) -> Tensor:
        stored, reach, slots = self._view.store[self._layer][which], self._view.reach, self._view.slots
        left, right = (stored[:, :, side].index_select(0, slots) for side in (reach.left, reach.right))
        return torch.cat((left, new, right), 2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        reach = self._view.reach
        return reach.left.stop - reach.left.start + reach.right.stop - reach.right.start

    def get_max_length(self) -> int:
        return -1

    # The name of `get_max_length` before transformers 5.2x.
    def get_max_cache_shape(self) -> int:
        return -1


def frozen_cache(view: View, layers: int) -> Cache:
    """Build what a transformers model of so many layers takes as its cache."""
    return Cache(layers=[FrozenLayer(view, layer) for layer in range(layers)])
