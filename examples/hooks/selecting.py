"""A select: spend the step's quota around the best position."""

from __future__ import annotations

from dataclasses import dataclass

from mdmkit import Actions, Component, hookimpl, ops


@dataclass(frozen=True)
class Huddle:
    """Fill the best open positions that lie within `radius` of the very best one.

    It may fill fewer than the plan owes; the next step's quota then carries the rest.
    """

    radius: int = 2

    def __call__(self, step, scores):
        best = ops.top(scores, step.open, step.quota.clamp_max(1))  # [B, W], one True per busy row
        centre = (best * step.position).sum(1, keepdim=True)  # [B, 1]
        near = step.open & ((step.position - centre).abs() <= self.radius)
        return Actions.single(ops.top(scores, near, step.quota), step.tokens)


@hookimpl
def mdmkit_select():
    return [Component("huddle", Huddle, "the best position and the best of those around it")]
