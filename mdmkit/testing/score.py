"""The contract of a score: `(step) -> float [B, W]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.loop.sampler import Sampler
from mdmkit.testing.reference import TakeQuota
from mdmkit.testing.stage import SEEDS, StageContract, in_columns
from mdmkit.testing.steps import Moment

if TYPE_CHECKING:
    from mdmkit.settings.draw import Draw
    from mdmkit.settings.plan import Plan


class ScoreContract(StageContract):
    """Test a score. Set `component`, or define `make`."""

    kind = "score"

    def inputs(self, moment: Moment) -> tuple[Any, ...]:
        return (moment.step(),)

    def facts(self, moment: Moment, result: Any) -> dict[str, Tensor]:
        return {"scores": in_columns(moment, result.float(), torch.nan).masked_fill(~moment.open, torch.nan)}

    def sampler(self, stage: Any, plan: Plan, draw: Draw) -> Sampler:
        return Sampler(score=stage, select=TakeQuota(), plan=plan, draw=draw)

    def test_scores_every_open_position(self) -> None:
        for seed in SEEDS:
            step = self.moment(seed).step()
            scores = self.make()(step)
            assert list(scores.shape) == [step.rows, step.width], "scores are [B, W]"
            assert scores.is_floating_point(), f"scores are floating point, not {scores.dtype}"
            assert not scores[step.open].isnan().any(), "an open position scored NaN"
