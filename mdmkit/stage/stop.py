"""The stop rule that every sampler has: a row ends with an end token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.stage.step import Step


@dataclass(frozen=True)
class EndToken:
    """End a row if its block is full, and an end token stands with nothing open before it.

    An infill has no end token: the prompt holds the tokens after its masks.

    Args:
        ends: ids that end a row.
    """

    ends: tuple[int, ...] = ()

    def __call__(self, step: Step) -> Tensor:
        full = ~(step.window(step.canvas.open) & step.member).any(1)
        if step.patience is not None:
            full = full & (step.patience <= 0)
        return full & ended(step.canvas, self.ends)


def ended(canvas: Canvas, ends: Sequence[int]) -> Tensor:
    """bool [B]: rows in which a generated end token stands with nothing open before it."""
    is_end = canvas.tokens == ends[0] if ends else torch.zeros_like(canvas.open)
    for token in ends[1:]:
        is_end = is_end | (canvas.tokens == token)
    open_before = canvas.open.cumsum(1).bool()
    return (is_end & canvas.editable & ~open_before).any(1) & ~canvas.infill
