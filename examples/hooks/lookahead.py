"""A lookahead: prefer the next state whose weakest position is the surest."""

from __future__ import annotations

from dataclasses import dataclass

from mdmkit import Component, hookimpl


@dataclass(frozen=True)
class WeakestLink:
    """The lowest confidence among the block's positions that stay open; 1 where none does."""

    def __call__(self, step, actions, look):
        sure = look(lambda belief: belief.confidence)  # [B, N, W]: the active window of each next state
        rest = step.open[:, None] & ~actions.place  # [B, N, W]
        return sure.masked_fill(~rest, 1.0).amin(-1)  # [B, N]


@hookimpl
def mdmkit_lookahead():
    return [Component("weakest_link", WeakestLink, "the lowest confidence that the action leaves behind")]
