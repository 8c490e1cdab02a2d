"""Watching a decode: the live view, streaming and progress bars are observers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.trace import Trace
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step


class Observer:
    """Override what you want to hear; nothing an observer does changes the result.

    Attributes:
        terminal: whether it writes to the terminal as it goes: the live view then stays away unless it is asked for.
    """

    terminal: bool = False

    def on_batch(self, prompts: Sequence[Prompt]) -> None:
        """These prompts are the rows of the batch that begins next; `prompt.index` counts from 0 over all prompts."""

    def on_start(self, sampler: Sampler, backbone: Backbone, canvas: Canvas) -> None:
        """A batch begins."""

    def on_step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        """A step was committed: `step` is how it was before, `choice` int64 [B] the alternative taken."""

    def on_end(self, canvas: Canvas, trace: Trace) -> None:
        """Every mask of the batch is filled."""
