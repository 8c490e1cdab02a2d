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
from mdmkit.stage.look import States
from mdmkit.stage.memory import Recall
from mdmkit.stage.step import Step

# Of a tensor with more entries, such as logits, a sum of all bits and so many entries are kept instead of a copy.
MOST = 1 << 16
_WALKED = (Step, Canvas, Window, Belief, Stats, Actions, States)
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# What a belief makes of its logits only when a part asks.
_ON_DEMAND = ("logits", "top2", "logp", "confidence")
# Names of the loop, and those of a part.
_SHOWN = {".packed": ".logits", ".stats.": ".", ".where.member": ".member", ".where.columns": ".position"}


class Arguments:
    """Copies of the tensors that a part gets as arguments, by the names under which the part knows them."""

    def __init__(self, **arguments: Any):
        tensors = [found for argument, value in arguments.items() for found in _tensors(value, argument)]
        self._kept = [(name, tensor, tensor.shape, _some(tensor).clone(), _sum(tensor)) for name, tensor in tensors]
        steps = [(name, step) for name, step in arguments.items() if isinstance(step, Step)]
        beliefs = [(f"{name}.belief", step.belief) for name, step in steps]
        beliefs += [(f"{name}.shadow", step.shadow) for name, step in steps if step.shadows]
        self._beliefs = [
            (name, each, [what for what in _ON_DEMAND if what not in vars(each)]) for name, each in beliefs
        ]

    def changed(self) -> str | None:
        """The name of a tensor that is no longer as it was. This waits for the device.

        If a tensor has several names, such as `step.belief.confidence` and `step.confidence`, this is the shortest.
        """
        odd = [name for name, now, shape, _, _ in self._kept if now.shape != shape]
        if not odd and self._kept:
            flags = [_differs(_some(now), before) | (_sum(now) != total) for _, now, _, before, total in self._kept]
            odd = [one[0] for one, differs in zip(self._kept, torch.stack(flags).tolist(), strict=True) if differs]
        odd = odd or [f"{name}.{what}" for name, belief, new in self._beliefs for what in _made_odd(belief, new)]
        name = min(odd, key=lambda name: (name.count("."), len(name)), default=None)
        for inner, outer in _SHOWN.items():
            name = name and name.replace(inner, outer)
        return name


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Step):
        # Parts share them, and the first that asks computes them: without this it could change them unseen.
        _ = value.tokens, value.confidence, value.shadows and value.shadow
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Recall):  # `keep` replaces a tensor, and never changes it
        for key, kept in value.memory.kept.items():
            yield f"what step.recall({key!r}) returns", kept.value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(item, f"{name}[{key!r}]")
    elif isinstance(value, _WALKED):
        for key, item in vars(value).items():
            yield from _tensors(item, name if key.startswith("_") else f"{name}.{key}")


def _made_odd(belief: Belief, new: list[str]) -> Iterator[str]:
    """The names of what a belief made during the call that is not what it makes of its logits."""
    for what in new:
        if what in vars(belief):
            fresh = getattr(Belief(belief.packed, belief.slot), what)
            if bool(_differs(getattr(belief, what), fresh)):
                yield what


def _some(tensor: Tensor) -> Tensor:
    flat = tensor.reshape(-1)
    return flat if len(flat) <= MOST else flat[:: len(flat) // MOST]


def _sum(tensor: Tensor) -> Tensor:
    """int64 []: the sum of all bits of a large tensor; 0 for a small one, which is compared entry by entry."""
    if tensor.numel() <= MOST:
        return torch.zeros((), dtype=torch.long, device=tensor.device)
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return real.view(_BITS[real.element_size()]).sum(dtype=torch.long)


def _differs(now: Tensor, before: Tensor) -> Tensor:
    """bool []; NaN equals NaN, because parts may get it."""
    return ((now != before) & ((now == now) | (before == before))).any()
