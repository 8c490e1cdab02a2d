"""A commit: once a block is full, open its weakest tokens again, each of them once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mdmkit import Component, Write, hookimpl


@dataclass(frozen=True)
class Reconsider:
    """Write the action; when that fills the row's block, mask what was written below `floor` again, once.

    Args:
        floor: probability below which a written token gets a second chance.
    """

    rewrites: ClassVar[bool] = True  # the result can differ from the plainly written action
    floor: float = 0.5

    def __call__(self, step, actions, choice):
        canvas = Write()(step, actions, choice)
        place, tokens = actions.take(choice)  # [B, W]
        written = step.belief.logp_of(tokens[..., None])[..., 0].exp()
        # Probability of each token when it was written; 2 once it has had its second chance. [B, T]
        sure = step.memory.get("reconsider", torch.ones_like(canvas.tokens, dtype=written.dtype)).clone()
        window = sure[:, step.span]
        window = torch.where(place & (window <= 1), written, window)
        full = (step.open & ~place).sum(1, keepdim=True) == 0  # [B, 1]
        again = full & (window < self.floor)
        sure[:, step.span] = torch.where(again, 2.0, window)
        step.memory["reconsider"] = sure
        reopened = canvas.tokens.clone()
        reopened[:, step.span] = torch.where(again, canvas.mask_id, canvas.tokens[:, step.span])
        return canvas.with_tokens(reopened)


@hookimpl
def mdmkit_commit():
    return [Component("reconsider", Reconsider, "mask weak tokens again when the block is full")]
