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
from mdmkit.stage.shifted import Shifted
from mdmkit.stage.step import Step

# Of a tensor with more entries, such as logits, a sum of all bits and so many entries are kept instead of a copy.
MOST = 1 << 16
_WALKED = (Step, Canvas, Window, Belief, Shifted, Stats, Actions, States)
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# What a belief makes of its logits only when a part asks.
_ON_DEMAND = ("logits", "top2", "logp", "confidence")
# Names of the loop, and those of a part.
_SHOWN = {
    ".source.made": ".logits",
    ".source": ".logits",
    ".stats.": ".",
    ".where.member": ".member",
    ".where.columns": ".position",
}


class Arguments:
    """Copies of the tensors that a part gets as arguments, by the names under which the part knows them."""

    def __init__(self, **arguments: Any):
        tensors: list[tuple[str, Tensor]] = []
        for argument, value in arguments.items():
            _gather(value, argument, tensors)
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
        odd = odd or self._written()
        odd = odd or [f"{name}.{what}" for name, belief, new in self._beliefs for what in _made_odd(belief, new)]
        name = min(odd, key=lambda name: (name.count("."), len(name)), default=None)
        for inner, outer in _SHOWN.items():
            name = name and name.replace(inner, outer)
        return name

    def _written(self) -> list[str]:
        if all(now.device.type == "cpu" for _, now, *_ in self._kept):  # nobody waits there, so one by one is faster
            return [name for name, now, _, before, total in self._kept if not _same(now, before, total)]
        names, flags = [], []
        for name, now, _, before, total in self._kept:
            names.append(name)
            flags.append(_differs(_some(now), before))
            if total is not None:
                names.append(name)
                flags.append(_bits(now) != total)
        return [name for name, differs in zip(names, torch.stack(flags).tolist(), strict=True) if differs]


def _gather(value: Any, name: str, found: list[tuple[str, Tensor]]) -> None:
    """Append the tensors of an argument, with their names."""
    if isinstance(value, Tensor):
        found.append((name, value))
    elif isinstance(value, _WALKED):
        if isinstance(value, Step):
            # Parts share them, and the first that asks computes them: without this it could change them unseen.
            _ = value.tokens, value.confidence, value.shadows and value.shadow
        for key, item in vars(value).items():
            _gather(item, name if key.startswith("_") else f"{name}.{key}", found)
    elif isinstance(value, Recall):  # `keep` replaces a tensor, and never changes it
        found += [(f"what step.recall({key!r}) returns", kept.value) for key, kept in value.memory.kept.items()]
    elif isinstance(value, dict):
        for key, item in value.items():
            _gather(item, f"{name}[{key!r}]", found)


def _made_odd(belief: Belief, new: list[str]) -> Iterator[str]:
    """The names of what a belief made during the call that is not what it makes of its logits."""
    source = belief.source.anew() if isinstance(belief.source, Shifted) else belief.source
    fresh = Belief(source, belief.slot)  # computes its statistics once, if one of them is asked for
    for what in new:
        if what in vars(belief) and bool(_differs(getattr(belief, what), getattr(fresh, what))):
            yield what


def _some(tensor: Tensor) -> Tensor:
    many = tensor.numel()
    return tensor if many <= MOST else tensor.reshape(-1)[:: many // MOST]


def _sum(tensor: Tensor) -> Tensor | None:
    """The sum of all bits of a large tensor; None for a small one, which is compared entry by entry."""
    return _bits(tensor) if tensor.numel() > MOST else None


def _bits(tensor: Tensor) -> Tensor:
    """int64 []; words of 8 bytes are added, where the tensor consists of such, since that is many times as fast."""
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    if real.is_contiguous() and real.numel() * real.element_size() % 8 == 0 and real.storage_offset() % 8 == 0:
        return real.flatten().view(torch.int64).sum()
    return real.view(_BITS[real.element_size()]).sum(dtype=torch.long)


def _same(now: Tensor, before: Tensor, total: Tensor | None) -> bool:
    if total is not None and bool(_bits(now) != total):
        return False
    some = _some(now)
    return torch.equal(some, before) or not bool(_differs(some, before))


def _differs(now: Tensor, before: Tensor) -> Tensor:
    """bool []; NaN equals NaN, because parts may get it."""
    return ((now != before) & ((now == now) | (before == before))).any()
