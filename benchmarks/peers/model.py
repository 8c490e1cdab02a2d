"""The model that mdmkit loaded, called as public loops call theirs, and the keys that stay between their calls.

In two things every loop is better off here than with the model code that it is published with. Keys are stored with
their rotary position, so no call rotates the stored ones again; and no attention mask is passed where all columns may
be read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin


class _Layer(CacheLayerMixin):
    """One layer's keys and values, [rows, heads, columns, D]."""

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None):
        super().__init__()
        self.keys, self.values, self.grows, self.place = keys, values, False, None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: `update` sets what is stored."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if self.place is not None:
            self.keys[:, :, self.place] = key_states
            self.values[:, :, self.place] = value_states
            return self.keys, self.values
        if self.keys is not None:
            key_states = torch.cat((self.keys, key_states), -2)
            value_states = torch.cat((self.values, value_states), -2)
        if self.grows:
            self.keys, self.values = key_states, value_states
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return 0 if self.keys is None else self.keys.shape[-2]

    def get_max_length(self) -> int:
        return -1


class Keys(Cache):
    """Stored keys and values. A call reads them and its own, in this order; `grow` and `put` change that."""

    def grow(self, grows: bool = True) -> Keys:
        """Say if the next calls store their columns behind the others; returns self."""
        for layer in self.layers:
            layer.grows = grows
        return self

    def put(self, low: int, high: int) -> Keys:
        """Let the next calls write their columns over the stored ones from `low` to `high`; returns self."""
        for layer in self.layers:
            layer.place = slice(low, high)
        return self

    def before(self, column: int) -> Keys:
        """Return the keys of the columns before this one."""
        return self._each(lambda stored: stored[:, :, :column])

    def repeated(self, times: int) -> Keys:
        """Return a copy for each of so many rows."""
        return self._each(lambda stored: stored.expand(times, -1, -1, -1).contiguous())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Keys:
        made = Keys(layers=[_Layer(change(layer.keys), change(layer.values)) for layer in self.layers])
        for new, old in zip(made.layers, self.layers, strict=True):
            new.place = old.place
        return made


class Model:
    """A transformers model as mdmkit has loaded it. It adds up the seconds and the rows of its calls.

    Args:
        backbone: of `mdmkit.load`.
        clock: returns seconds.
    """

    def __init__(self, backbone: Any, clock: Callable[[], float]):
        self.network, self.mask, self.clock = backbone.network.model, backbone.mask_id, clock
        self.seconds, self.rows = 0.0, 0
        takes = inspect.signature(self.network.base_model.forward).parameters
        self._name = "cache" if "cache" in takes else "past_key_values"  # transformers 5.2x renamed it

    def __call__(self, tokens: Tensor, keys: Keys | None = None, start: int = 0, mask: Tensor | None = None) -> Tensor:
        """Compute the logits [B, L, V] of tokens [B, L], whose first column has the position `start`."""
        began = self.clock()
        positions = torch.arange(start, start + tokens.shape[1])[None]
        stored = {"use_cache": False} if keys is None else {"use_cache": True, self._name: keys}
        logits = self.network(input_ids=tokens, attention_mask=mask, position_ids=positions, **stored).logits
        self.seconds += self.clock() - began
        self.rows += len(tokens)
        return logits

    def keys(self) -> Keys:
        """Return no keys yet; the next calls store theirs."""
        return Keys(layers=[_Layer() for _ in range(self.network.config.num_hidden_layers)]).grow()
