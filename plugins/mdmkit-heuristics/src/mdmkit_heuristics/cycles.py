"""SlowFast sampling: find out how far the model is confident, then fill up to there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import Actions, MdmkitError, ops
from mdmkit_heuristics.block import length, offset

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


@dataclass(frozen=True)
class SlowFast:
    """Fill a block cycle by cycle, each with a slow phase that finds its end and a fast one that fills it (SlowFast).

    arXiv:2506.10848, as in the authors' code, but without its cache. Every slow step estimates the end as the farthest
    open position whose probability is at least `reach`, until two estimates in a row differ by less than two positions.
    If they never do, the end is their mean. Slow steps fill anywhere after the last cycle, fast steps only up to the
    end. Both fill all positions at or above `threshold` if these are two or more, else the best position. The plan's
    steps are not read.

    Args:
        steps: slow steps per cycle.
        reach: probability.
        threshold: probability.
    """

    steps: int = 6
    reach: float = 0.3
    threshold: float = 0.9

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise MdmkitError(
                f"select slow_fast: steps={self.steps}: two estimates are needed to find an end, so it must be at "
                "least 2."
            )
        for name in ("reach", "threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise MdmkitError(f"select slow_fast: {name}={getattr(self, name)}: it is a probability, from 0 to 1.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        place, size = offset(step), length(step)
        # A new block begins with zeros; the first slow step of a cycle sets the end.
        start, end, taken, last, settled = step.recall("slow_fast.cycle", shape=(5,), until="block").unbind(-1)
        # A filled cycle is over. The next one starts at its end, with slow steps.
        rest = (step.open & (place >= start[:, None]) & (place < end[:, None])).any(-1)
        over = (taken >= self.steps) & ~rest
        start = torch.where(over, end, start)
        taken, last, settled = (torch.where(over, 0, value) for value in (taken, last, settled))

        slow = taken < self.steps
        ahead = step.open & (place >= start[:, None])
        far = torch.where(ahead & (step.confidence >= self.reach), place + 1, 0).amax(-1)
        estimate = torch.minimum(torch.where(far > 0, far, start + 1), size)
        # If two estimates differ by less than 2, each differs from their mean by less than 1.
        first, close = taken == 0, (estimate - last).abs() < 2
        guess = torch.where(close, estimate, (estimate + last) // 2)
        end = torch.where(slow & ~first & (settled == 0), guess, torch.where(first, size, end))
        settled = torch.where(slow & ~first & close, 1, settled)
        last = torch.where(slow, estimate, last)
        step.keep("slow_fast.cycle", torch.stack((start, end, taken + 1, last, settled), -1))

        region = ahead & (slow[:, None] | (place < end[:, None]))
        sure = region & (step.confidence >= self.threshold)
        best = ops.top(scores, region, step.quota.clamp_max(1))
        return Actions.single(sure.where(sure.sum(-1, keepdim=True) > 1, best), step.tokens)
