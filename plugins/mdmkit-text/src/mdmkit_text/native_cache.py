"""Frozen columns in the form of transformers' caches. Its attention reads them, and no model class is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from mdmkit_text.frozen import FrozenLayer

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit_text.frozen import Places


class NativeLayer(FrozenLayer, CacheLayerMixin):
    """A `FrozenLayer` as a layer of transformers' `Cache`."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: the first forward that keeps columns makes the store."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """The number of keys besides the new ones: together they are all keys of the attention."""
        return self._places.keys - self._view.live.shape[1]

    def get_max_length(self) -> int:
        return -1

    # The name of `get_max_length` before transformers 5.2x.
    def get_max_cache_shape(self) -> int:
        return -1


def native_cache(places: Places, layers: int) -> Cache:
    """Build the cache of a transformers model with this number of layers."""
    return Cache(layers=[NativeLayer(places, layer) for layer in range(layers)])
