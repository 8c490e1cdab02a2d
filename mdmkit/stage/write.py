"""The commit that every sampler starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step


@dataclass(frozen=True)
class Write:
    """Write the chosen action's tokens; nothing already written changes."""

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        place, tokens = actions.take(choice)
        written = type(actions)(place[:, None], tokens[:, None], actions.live[:, :1])
        return step.canvas.with_tokens(written.written(step.canvas, step.span)[:, 0])
