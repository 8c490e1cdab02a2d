"""LLaDA2.1's token editing: a written token is replaced if the model now prefers another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mdmkit import Actions, MdmkitError, Write
from mdmkit_heuristics.block import editable

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Canvas, Step


@dataclass(frozen=True)
class Edit:
    """Write the action, and replace written tokens of the block by more probable ones (LLaDA2.1, arXiv:2602.08676).

    A token is replaced by the most probable one if that is another token and its probability is above `threshold`. A
    full block is edited until nothing changes. The model must be trained to correct tokens. No position is reopened, so
    a block takes at most `lingers` more steps than without editing. Each of them costs one forward.

    Args:
        threshold: probability, exclusive.
        lingers: the largest number of steps in which a full block is edited; `max_post_steps` in the released decoder.
    """

    rewrites: ClassVar[bool] = True
    threshold: float = 0.9
    lingers: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise MdmkitError(f"commit edit: threshold={self.threshold}: it is a probability, from 0 to 1.")
        if self.lingers < 0:
            raise MdmkitError(f"commit edit: lingers={self.lingers}: it is a number of steps, from 0 up.")

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        canvas = Write()(step, actions, choice)
        held = step.window(step.canvas.tokens)
        wrong = (step.belief.argmax != held) & (step.belief.confidence > self.threshold)
        change = editable(step) & ~step.open & wrong & step.active[:, None]
        return canvas.filled(step.spread(change), step.put(canvas.tokens, step.belief.argmax))
