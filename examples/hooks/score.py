"""A score: fill next to what is known."""

from __future__ import annotations

from dataclasses import dataclass

from mdmkit import Component, hookimpl


@dataclass(frozen=True)
class Neighbours:
    """Confidence, and a bonus for every neighbour that is no longer open.

    Args:
        bonus: what one known neighbour adds, in units of probability.
    """

    bonus: float = 0.1

    def __call__(self, step):
        known = (step.canvas.valid & ~step.canvas.open).float()  # [B, T]; padding knows nothing
        beside = known.new_zeros(known.shape)
        beside[:, 1:] += known[:, :-1]
        beside[:, :-1] += known[:, 1:]
        return step.confidence + self.bonus * step.window(beside)  # [B, W]


@hookimpl
def mdmkit_score():
    return [Component("neighbours", Neighbours, "confidence, and a bonus beside known tokens")]
