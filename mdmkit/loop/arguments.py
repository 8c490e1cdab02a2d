"""Whether a part has written into its arguments: their tensors, compared before and after a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mdmkit.canvas.canvas import Canvas
from mdmkit.canvas.window import Window
from mdmkit.ops import Stats
from mdmkit.stage.actions import Actions
from mdmkit.stage.belief import Belief
from mdmkit.stage.step import Step

# Entries that are copied of one tensor, spread over it: nobody writes into a few logits only.
MOST = 1 << 16
_WALKED = (Step, Canvas, Window, Belief, Stats, Actions)


class Arguments:
    """Copies of the tensors that a part gets as arguments, by the names under which the part knows them."""

    def __init__(self, **arguments: Any):
        self._kept = [
            (name, tensor, _some(tensor).clone())
            for argument, value in arguments.items()
            for name, tensor in _tensors(value, argument)
        ]

    def changed(self) -> str | None:
        """The name of a tensor that is no longer as it was. This waits for the device.

        One tensor may have several names, such as `step.belief.confidence` and `step.confidence`: the shortest is it.
        """
        odd = torch.stack([_differs(_some(tensor), before) for _, tensor, before in self._kept]).tolist()
        names = [name for (name, _, _), differs in zip(self._kept, odd, strict=True) if differs]
        return min(names, key=lambda name: (name.count("."), len(name)), default=None)


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Step):
        # Parts share them, and the first that asks computes them: without this it could change them unseen.
        _ = value.tokens, value.confidence
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(item, f"{name}[{key!r}]")
    elif isinstance(value, _WALKED):
        for key, item in vars(value).items():
            yield from _tensors(item, name if key.startswith("_") else f"{name}.{key}")


def _some(tensor: Tensor) -> Tensor:
    flat = tensor.reshape(-1)
    return flat if len(flat) <= MOST else flat[:: len(flat) // MOST]


def _differs(now: Tensor, before: Tensor) -> Tensor:
    """bool []; NaN equals NaN, because parts may get it."""
    return ((now != before) & ((now == now) | (before == before))).any()
