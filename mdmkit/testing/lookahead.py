"""The contract of a lookahead: `(step, actions, look) -> float [B, N]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.loop.sampler import Sampler
from mdmkit.testing.reference import ByConfidence, Spread
from mdmkit.testing.stage import SEEDS, StageContract, at_temperatures
from mdmkit.testing.steps import Moment

if TYPE_CHECKING:
    from mdmkit.settings.draw import Draw
    from mdmkit.settings.plan import Plan


class LookaheadContract(StageContract):
    """Test a lookahead. Set `component`, or define `make`."""

    kind = "lookahead"

    def inputs(self, moment: Moment) -> tuple[Any, ...]:
        return moment.step(), moment.actions(), moment.look()

    def facts(self, moment: Moment, result: Tensor) -> dict[str, Tensor]:
        # Values are read only for rows with several live alternatives.
        live = moment.actions().live
        return {"values": result.double().masked_fill(~live | (live.sum(1, keepdim=True) < 2), 0.0)}

    def sampler(self, stage: Any, plan: Plan, draw: Draw) -> Sampler:
        return Sampler(score=ByConfidence(), select=Spread(4), lookahead=stage, plan=plan, draw=draw)

    @at_temperatures
    def test_values_every_live_alternative(self, temperature: float) -> None:
        for seed in SEEDS:
            step, actions, look = self.inputs(self.moment(seed, temperature=temperature))
            with torch.no_grad():
                values = self.make()(step, actions, look)
            assert values.shape == actions.live.shape, "values are [B, N]"
            assert values.is_floating_point(), f"values are floating point, not {values.dtype}"
            compared = actions.live & (actions.live.sum(1, keepdim=True) > 1)
            assert not values[compared].isnan().any(), "a live alternative is worth NaN"

    def test_runs_no_forward_of_its_own(self) -> None:
        step, actions, look = self.inputs(self.moment())
        runner = look.runner
        before = runner.calls
        with torch.no_grad():
            self.make()(step, actions, look)
        assert runner.calls == before, "the model was run past the look: use look(…), or look.again(…) for other states"
