"""The contract of a score: `(step) -> float [B, W]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.loop.sampler import Sampler
from mdmkit.testing.reference import TakeQuota
from mdmkit.testing.stage import SEEDS, StageContract
from mdmkit.testing.steps import Moment, make_moment

if TYPE_CHECKING:
    from mdmkit.settings.draw import Draw
    from mdmkit.settings.plan import Plan


class ScoreContract(StageContract):
    """How much to fill each open position now. Set `component`, or define `make`."""

    def inputs(self, moment: Moment, span: slice) -> tuple[Any, ...]:
        return (moment.step(span),)

    def facts(self, moment: Moment, span: slice, result: Any) -> dict[str, Tensor]:
        whole = torch.full(moment.open.shape, torch.nan)
        whole[:, span] = result.float()
        return {"scores": whole.masked_fill(~moment.open, torch.nan)}

    def sampler(self, stage: Any, plan: Plan, draw: Draw) -> Sampler:
        return Sampler(score=stage, select=TakeQuota(), plan=plan, draw=draw)

    def test_scores_every_open_position(self) -> None:
        for seed in SEEDS:
            step = make_moment(seed).step()
            scores = self.make()(step)
            assert list(scores.shape) == [step.rows, step.width], "scores are [B, W]"
            assert scores.is_floating_point(), f"scores are floating point, not {scores.dtype}"
            assert not scores[step.open].isnan().any(), "an open position scored NaN"
