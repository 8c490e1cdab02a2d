"""Which positions of a row may still change: the text before the first of them is final."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdmkit.loop.looking import leftmost

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step


def final_until(step: Step, actions: Actions, choice: Tensor, rewrites: bool) -> tuple[Canvas, Tensor]:
    """Return the canvas of a step whose text is final, and the first column int64 [B] of each row that may change.

    A token is final when it is committed. If the commit rewrites, it is final when the row has left its block.
    """
    canvas = step.canvas
    if rewrites:
        unsettled = canvas.open | step.spread(step.member)
    else:
        canvas = step.written(*actions.take(choice))
        unsettled = canvas.open
    return canvas, leftmost(unsettled)
