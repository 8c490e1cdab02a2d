"""Alternatives of a row read the row's frozen columns where they are stored, once for all of them.

Otherwise each of N alternatives gets a copy of the row's keys and values, in every layer. Here attention is computed in
two parts, which are merged by their logsumexps: the queries of all alternatives of a row, as one long query, over the
frozen columns; and each alternative's queries over its own columns.

The queries that share a head of keys stand behind one another, so grouped keys are not repeated.

Shapes: M states, L columns each (shadow columns included), H query heads, G heads of keys and values, E the width of a
head; g = H / G.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from mdmkit import View
    from mdmkit_text.attended import Attended
    from mdmkit_text.packing import Packing

# The name of `attention` among transformers' attention functions.
NAME = "mdmkit"
# With fewer keys a copy takes less time than a second part of the attention (measured on a CPU, 5 and 8 alternatives).
FEWEST_KEYS = 256
# CUDA's kernel wants rows of a mask to begin at multiples of 16 bytes.
_ALIGNED = 16


def install(model: Any) -> None:
    """Let a model of transformers, which nobody else uses, call `attention`; without alternatives it is `sdpa`."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    if getattr(model.config, "_attn_implementation", None) == "sdpa":
        AttentionInterface.register(NAME, attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **more: Any
) -> tuple[Tensor, Tensor | None]:
    """Compute the attention of one layer in transformers' form: [M, L, H, E], and no weights."""
    packing: Packing | None = more.pop("packing", None)
    if packing is None:
        return _attention(module, query, key, value, attention_mask, **more)
    alternatives: Alternatives | None = more.pop("alternatives", None)

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rows: slice) -> Tensor:
        own = {} if alternatives is None else {"alternatives": alternatives.of(rows)}
        return _attention(module, query, key, value, mask, **more, **own)[0]

    return packing.attention(attend, query, key, value, attention_mask), None


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **more: Any
) -> tuple[Tensor, Tensor | None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    attended: Attended | None = more.pop("attended", None)
    if attended is not None:
        attended.add(module.layer_idx, query, key, attention_mask, more.get("scaling"))
    alternatives: Alternatives | None = more.pop("alternatives", None)
    if alternatives is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)
    mixed = alternatives(module.layer_idx, query, key, value, attention_mask, more.get("scaling"))
    return mixed.transpose(1, 2), None


def alternatives_of(view: View, fewest: int) -> Alternatives | None:
    """What reads the frozen columns of some states, if there are alternatives of a row and at least `fewest` keys."""
    slots = view.numbers
    if slots is None or not view.reads or view.readable.shape[1] < fewest or len({*slots}) == len(slots):
        return None
    return Alternatives(view)


class Alternatives:
    """The attention of one forward of alternatives. If attention is by blocks, frozen columns are to their left."""

    def __init__(self, view: View):
        self._view = view
        left = view.readable.shape[1] - view.live.shape[1]
        # The number of frozen columns, if every row may read all of them and they are to the left of its own.
        self._left = left if view.starts and {*view.starts} == {left} else None
        self._parts: dict[tuple[int, int], Alternatives] = {}

    def of(self, states: slice) -> Alternatives:
        """The alternatives of some of the states, which are all of some rows."""
        view, key = self._view, (states.start, states.stop)
        if key == (0, len(view.live)):
            return self
        if key not in self._parts:
            cut = {name: getattr(view, name)[states] for name in ("live", "seen", "readable")}
            self._parts[key] = Alternatives(replace(view, numbers=(view.numbers or ())[states], starts=None, **cut))
        return self._parts[key]

    @cached_property
    def _runs(self) -> list[tuple[int, slice]]:
        """Each row's slot, and which of the M states are its alternatives."""
        runs, end = [], 0
        for slot, states in groupby(self._view.numbers or ()):
            end, begin = end + len(list(states)), end
            runs.append((slot, slice(begin, end)))
        return runs

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None
    ) -> Tensor:
        """Mix the values: [M, H, L, E].

        Args:
            layer: whose frozen columns are read.
            query: [M, H, L, E].
            key, value: [M, G, L, E]; each state's own.
            mask: bool [M, 1, L, L]; which own columns each query attends to; None: all.
            scale: of the scores; None: one over the root of E.
        """
        groups = query.shape[1] // key.shape[1]
        grouped = query.unflatten(1, (-1, groups))  # [M, G, g, L, E]
        own = None if mask is None else _bias(mask.repeat(1, 1, groups, 1), query.dtype)
        mixed, total = _attend(grouped.flatten(2, 3), key, value, own, scale)
        if self._left == 0:
            return mixed.reshape(query.shape)
        mixed, total = mixed.view(grouped.shape), total.view(grouped.shape[:-1])
        parts = []
        for (slot, states), bias in zip(self._runs, self._biases(query.dtype), strict=True):
            keys, values = (each[slot : slot + 1, :, : self._frozen] for each in self._view.store[layer])
            asked = grouped[states].permute(1, 2, 0, 3, 4)  # [G, g, A, L, E]
            found, weight = _attend(asked.flatten(1, 3)[None], keys, values, bias, scale)
            found, weight = found.view(asked.shape), weight.view(asked.shape[:-1])
            share = torch.sigmoid(weight.permute(2, 0, 1, 3) - total[states])[..., None]
            parts.append(torch.lerp(mixed[states], found.permute(2, 0, 1, 3, 4), share.to(mixed.dtype)))
        return torch.cat(parts).reshape(query.shape)

    @property
    def _frozen(self) -> int:
        """How many columns of the store are read, or masked."""
        return self._view.readable.shape[1] if self._left is None else self._left

    def _biases(self, dtype: torch.dtype) -> list[Tensor | None]:
        """For each row what is added to the scores of its frozen columns, [1, 1, 1, K]; None: nothing."""
        if self._left is not None:
            return [None] * len(self._runs)
        seen = self._view.seen[:, None, None]
        return [_bias(seen[states.start : states.start + 1], dtype) for _, states in self._runs]


def _bias(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores, so that only the allowed keys count. If none is allowed, the result has no weight."""
    wide = functional.pad(allowed, (0, -allowed.shape[-1] % _ALIGNED))
    bias = torch.zeros(wide.shape, dtype=dtype, device=wide.device).masked_fill_(~wide, torch.finfo(dtype).min)
    return bias[..., : allowed.shape[-1]]


def _attend(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float | None
) -> tuple[Tensor, Tensor]:
    """Attention [N, G, R, E] of as many query heads as heads of keys, and the logsumexp of its scores, [N, G, R]."""
    rows, keys = query.shape[2], key.shape[2]
    bias = None if bias is None else bias.expand(*query.shape[:2], rows, keys)
    if query.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, False, attn_mask=bias, scale=scale
        )
    found = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, bias, True, scale=scale)
    return found[0], found[1][..., :rows]  # the kernel rounds their number up
