"""Forwards of a network whose shapes come again at each step: what names them, and the tensors that they read."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mdmkit_text.attention import attention_mask

if TYPE_CHECKING:
    from mdmkit import View
    from mdmkit_text.graphs import Graphs, Inputs
    from mdmkit_text.network import Network

# With attention by blocks the keys grow from block to block. Recorded forwards round their number up to these steps.
KEYS = 128


def repeats(view: View | None, plain: bool | None) -> bool:
    """True for a forward whose shapes come again at each step: of whole rows, or between frozen columns.

    The first forward in a block, which stores the columns of rows that do not stand side by side, is none; nor is one
    for which the store must be widened, since a recording writes and reads the memory of the store itself.
    """
    if torch.is_autocast_enabled("cuda"):
        return False
    if view is None:
        return plain is not None
    wide = all(x.shape[2] > view.width for pair in view.store.values() for x in pair)
    return view.reads and wide and (view.first is not None or view.keeps is False)


def recorded(
    network: Network,
    graphs: Graphs,
    tokens: Tensor,
    valid: Tensor,
    positions: Tensor,
    view: View | None,
    plain: bool | None,
) -> Tensor:
    """Compute `network.forward`, by a recording if these shapes come again.

    The network must be `maskless`: with and without a mask it computes the same.
    """
    inputs = {"tokens": tokens, "valid": valid, "positions": positions}
    if view is None:
        masked = network.block is not None or not plain
        key: tuple[Any, ...] = (tokens.shape, masked)
    else:
        view = _in_steps(view, network.block)
        inputs |= {"start": view.start, "slots": view.slots, "readable": view.readable}
        alternatives = network.alternatives_of(view)
        masked = not network.unmasked(view, own=alternatives is not None)
        store = tuple((x.data_ptr(), x.shape) for pair in view.store.values() for x in pair)
        key = (tokens.shape, masked, view.readable.shape, view.first, view.width, store)
        if alternatives is not None:
            # Which states are alternatives of which row is the same in each replay. With several rows it changes from
            # step to step, so most of these forwards are not recorded.
            inputs, key = inputs | {"seen": view.seen}, (*key, view.numbers)

    def forward(given: Inputs) -> Tensor:
        now = None if view is None else _of_inputs(view, given)
        alternatives = network.alternatives_of(now)
        allowed = None
        if masked:
            readable = None if now is None or alternatives is not None else now.readable
            allowed = network.mask(attention_mask(given["valid"], given["positions"], network.block, readable))
        keywords = {"attention_mask": allowed} | network.cache_of(now, alternatives=alternatives)
        return network.call(keywords, given["tokens"], given["valid"], given["positions"])

    return graphs(key, forward, inputs)


def _in_steps(view: View, block: int | None) -> View:
    """The view with the number of its keys rounded up, if that grows from block to block."""
    have = view.readable.shape[1]
    keys = min(-(-have // KEYS) * KEYS, view.width)
    if block is None or keys == have:
        return view
    seen, readable = (nn.functional.pad(x, (0, keys - have)) for x in (view.seen, view.readable))
    return dataclasses.replace(view, seen=seen, readable=readable, starts=None)


def _of_inputs(view: View, given: Inputs) -> View:
    """The view with the tensors of a recording. It holds no others, and no numbers that differ from step to step."""
    nothing: Any = None
    return dataclasses.replace(
        view,
        slots=given["slots"],
        start=given["start"],
        live=given["valid"],
        readable=given["readable"],
        seen=given.get("seen", nothing),
        keep=nothing,
        span=None,
        starts=None,
    )
