"""Parts that fail: the score `raising` for all rows, the select `straying` for one. Tests add this file as a plugin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from mdmkit import Component, Step, hookimpl
from mdmkit.testing import TakeQuota

LETTER, MASK = 3, 11  # `c` and the mask of the toy


@dataclass(frozen=True)
class Raising:
    """Raise an exception while a row that begins with `c` is in the batch."""

    def __call__(self, step: Step) -> torch.Tensor:
        if bool((step.canvas.tokens[:, 0] == LETTER).any()):
            raise ValueError("a row begins with c")
        return step.confidence


@dataclass(frozen=True)
class Straying(TakeQuota):
    """Write the mask as a token into rows that begin with `c`."""

    def __call__(self, step: Step, scores: torch.Tensor) -> Any:
        actions = super().__call__(step, scores)
        wrong = step.canvas.tokens[:, :1, None] == LETTER
        return replace(actions, tokens=torch.where(wrong, MASK, actions.tokens))


@hookimpl
def mdmkit_score() -> list[Component]:
    return [Component("raising", Raising, "raises for a row that begins with c")]


@hookimpl
def mdmkit_select() -> list[Component]:
    return [Component("straying", Straying, "writes the mask into a row that begins with c")]
