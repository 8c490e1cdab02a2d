"""Frozen columns as keys and values: how transformers' attention reads them without a change to any model class.

A model's attention hands its new keys and values to a cache layer and attends to what it gets back. This one gives
back each row's stored columns in their order, with the new ones in their places. Keys carry their rotary position
already, so the order of columns is all that has to be kept.

Behind the last column of the store, and of what is given back, stands one more: what is to be written nowhere, such as
the columns that only fill a batch up, goes there. Nothing reads it, and no row has to be sorted out on the host.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

if TYPE_CHECKING:
    from mdmkit import View


class _Places:
    """Where the columns of one forward go, in every layer alike.

    Args:
        extra: shadow columns behind the row's own; they are keys of this forward alone.
    """

    def __init__(self, view: View, extra: int = 0):
        self.view, self.extra = view, extra

    @property
    def keys(self) -> int:
        """K, how many keys attention gets."""
        return self.view.readable.shape[1] if self.view.reads else self.view.live.shape[1]

    @cached_property
    def columns(self) -> Tensor:
        """int64 [M, L]."""
        return self.view.start[:, None] + torch.arange(self.view.live.shape[1], device=self.view.start.device)

    @cached_property
    def stored(self) -> Tensor:
        """int64 [M, L]: the columns of the store that are written; −1, the last, for what is not kept."""
        return torch.where(self.view.live & self.view.keep[:, None], self.columns, -1)

    @cached_property
    def read(self) -> Tensor:
        """int64 [M, 1, L, 1]: the keys that the new columns are; K, one behind the last, for those that are none."""
        return torch.where(self.view.live, self.columns, self.keys)[:, None, :, None]


class FrozenLayer(CacheLayerMixin):
    """One layer's keys and values [M, heads, columns, D]: the frozen ones and those of a forward."""

    def __init__(self, places: _Places, layer: int):
        super().__init__()
        self._places, self._view, self._layer = places, places.view, layer

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to prepare: the store is made by the first forward that keeps something."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Put the new columns among the frozen ones, and keep those that the forward is to be remembered by."""
        if not self._view.reads and self._view.keeps is False:
            return key_states, value_states
        length = key_states.shape[2] - self._places.extra
        new = key_states[:, :, :length], value_states[:, :, :length]
        stored = self._store(new)
        if self._view.keeps is not False:
            for kept, each in zip(stored, new, strict=True):
                self._keep(kept, each)
        if not self._view.reads:
            return key_states, value_states
        among = self._among(stored[0], new[0]), self._among(stored[1], new[1])
        if not self._places.extra:
            return among
        extra = key_states[:, :, length:], value_states[:, :, length:]
        return torch.cat((among[0], extra[0]), 2), torch.cat((among[1], extra[1]), 2)

    def _store(self, new: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The layer's store, made where there is none, and widened where a longer row has joined."""
        store, view = self._view.store, self._view
        stored = store.get(self._layer)
        if stored is None:
            # Zeros, since attention's weight of 0 for padding that was never computed must not meet a NaN.
            stored = tuple(each.new_zeros(view.size, each.shape[1], view.width + 1, each.shape[3]) for each in new)
            store[self._layer] = stored
        more = view.width + 1 - stored[0].shape[2]
        if more > 0:
            stored = tuple(functional.pad(each, (0, 0, 0, more)) for each in stored)
            store[self._layer] = stored
        return stored

    def _keep(self, kept: Tensor, new: Tensor) -> None:
        view = self._view
        if view.keeps and view.span is not None:
            kept[view.slots, :, view.span] = new
        else:
            kept[view.slots[:, None], :, self._places.stored] = new.transpose(1, 2)

    def _among(self, kept: Tensor, new: Tensor) -> Tensor:
        view, keys = self._view, self._places.keys
        if view.span is not None:
            among = kept[:, :, :keys].index_select(0, view.slots)
            among[:, :, view.span] = new
            return among
        among = kept[:, :, : keys + 1].index_select(0, view.slots)
        return among.scatter_(2, self._places.read.expand_as(new), new)[:, :, :keys]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Keys beside the new ones: with those of the forward they are all that attention gets."""
        return self._places.keys - self._view.live.shape[1]

    def get_max_length(self) -> int:
        return -1

    # The name of `get_max_length` before transformers 5.2x.
    def get_max_cache_shape(self) -> int:
        return -1


def frozen_cache(view: View, layers: int, extra: int = 0) -> Cache:
    """Build what a transformers model of so many layers takes as its cache; `extra` shadow columns are not kept."""
    places = _Places(view, extra)
    return Cache(layers=[FrozenLayer(places, layer) for layer in range(layers)])
