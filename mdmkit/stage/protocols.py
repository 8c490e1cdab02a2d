"""The four hook points as callable types, and the commit that every sampler starts from.

Any stage may have a method `fits(backbone)`, called before the first step, that raises an `MdmkitError` where it cannot
work with the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.look import Look
    from mdmkit.stage.step import Step


@runtime_checkable
class Score(Protocol):
    def __call__(self, step: Step) -> Tensor:
        """How much to fill each open position now: float [B, W], higher = sooner."""


@runtime_checkable
class Select(Protocol):
    """`alternatives`, where present, is N: how many alternatives it proposes at most (1 where absent)."""

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        """Turn scores float [B, W] into N alternative actions per row."""


@runtime_checkable
class Lookahead(Protocol):
    def __call__(self, step: Step, actions: Actions, look: Look) -> Tensor:
        """What each alternative's next state is worth: float [B, N], higher = better."""


@runtime_checkable
class Commit(Protocol):
    """`rewrites`, where present and true, says that the result can differ from the plainly written action.

    `lingers`, where present, is a number of steps: a row whose block is full takes up to so many more, with nothing to
    fill and an empty action, for as long as the commit changes something in it. It needs `rewrites`.
    """

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        """Write the chosen action, choice int64 [B], and return the next canvas."""
