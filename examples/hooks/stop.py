"""A stop rule: end a row as soon as the model is sure of everything that is still open in its block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mdmkit import Component, hookimpl


@dataclass(frozen=True)
class SureOfTheRest:
    """End a row when each open position of its block has held at least `bar` for `patience` steps."""

    fill: ClassVar[str] = "best"  # what is open then is filled with the most probable tokens
    bar: float = 0.95
    patience: int = 2

    def __call__(self, step):
        sure = (step.belief.confidence >= self.bar) | ~step.open  # [B, W]; the belief that the step began with
        run = step.recall("sure_of_the_rest", fill=0, until="block")  # int64 [B]
        run = (run + 1) * (sure.all(1) & step.open.any(1))
        step.keep("sure_of_the_rest", run)
        return run >= self.patience


@hookimpl
def mdmkit_stop():
    return [Component("sure_of_the_rest", SureOfTheRest, "end when all that is open has been sure for some steps")]
