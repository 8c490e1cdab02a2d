"""LLaDA2.1's token editing: written tokens are replaced where the model has come to prefer another."""

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
    """Write the action, and replace written tokens of the block by a surer other one (LLaDA2.1, arXiv:2602.08676).

    A token is replaced by the most probable one where that is another and its probability is above `threshold`; a full
    block is edited on until nothing changes. Needs a model trained to correct tokens. It never masks, so a block takes
    as many steps as without it and `lingers` more at most, each with a forward of its own.

    Args:
        threshold: probability, exclusive.
        lingers: steps that a full block is edited for at most, `max_post_steps` in the released decoder.
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
