"""The default commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdmkit.stage.protocols import Commit

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step


@dataclass(frozen=True)
class Write(Commit):
    """Write the chosen action's tokens; written tokens never change."""

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        return step.written(*actions.take(choice))
