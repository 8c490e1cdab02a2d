"""A commit: once a block is full, open its weakest tokens again, each of them once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mdmkit import Component, Write, hookimpl


@dataclass(frozen=True)
class Reconsider:
    """Write the action; when that fills the row's block, open what was written below `floor` again, once.

    Args:
        floor: probability below which a written token gets a second chance.
    """

    rewrites: ClassVar[bool] = True  # the result can differ from the plainly written action
    floor: float = 0.5

    def __call__(self, step, actions, choice):
        canvas = Write()(step, actions, choice)
        place, tokens = actions.take(choice)  # [B, W]
        written = step.belief.probability(tokens)
        # Probability of each token when it was written; 2 once it has had its second chance. [B, W]
        sure = step.recall("reconsider.sure", like="window", fill=1.0, until="block")
        sure = torch.where(place & (sure <= 1), written, sure)
        full = step.active & ~(step.open & ~place).any(1)  # [B]
        again = full[:, None] & (sure < self.floor)
        step.keep("reconsider.sure", torch.where(again, 2.0, sure))
        return canvas.reopened(step.spread(again))


@hookimpl
def mdmkit_commit():
    return [Component("reconsider", Reconsider, "open weak tokens again when the block is full")]
