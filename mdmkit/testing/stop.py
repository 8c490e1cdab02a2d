"""The contract of a stop rule: `(step) -> bool [B]`, asked after every commit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mdmkit.loop.sampler import Sampler
from mdmkit.settings.draw import Draw
from mdmkit.settings.plan import Plan
from mdmkit.stage.traits import trait
from mdmkit.testing.reference import ByConfidence, TakeQuota
from mdmkit.testing.stage import PROMPTS, SEEDS, StageContract, at_temperatures, decode_with
from mdmkit.testing.steps import Moment


class StopContract(StageContract):
    """Test a stop rule. Set `component`, or define `make`."""

    kind = "stop"
    ends_early = True

    def inputs(self, moment: Moment) -> tuple[Any, ...]:
        step = moment.step()
        canvas = step.written(*moment.actions().take(moment.choice()))
        return (step.after(canvas, tick=step.tick + step.active, taken=step.taken + step.active),)

    def facts(self, moment: Moment, result: Tensor) -> dict[str, Tensor]:
        return {"stops": result.long()}

    def sampler(self, stage: Any, plan: Plan, draw: Draw) -> Sampler:
        return Sampler(score=ByConfidence(), select=TakeQuota(), stop=stage, plan=plan, draw=draw)

    @at_temperatures
    def test_says_one_thing_per_row(self, temperature: float) -> None:
        for seed in SEEDS:
            (step,) = self.inputs(self.moment(seed, temperature=temperature))
            result = self.make()(step)
            assert isinstance(result, Tensor), "a stop rule returns a tensor"
            assert list(result.shape) == [step.rows], "the result is [B]"
            assert result.dtype == torch.bool, "the result is bool"

    def test_what_it_leaves_open_is_filled_as_its_trait_says(self) -> None:
        fill = trait("stop", self.make(), "fill")
        assert fill in ("leave", "best"), f"fill is 'leave' or 'best', not {fill!r}"
        plan = Plan(length=9, block=4)
        canvas, _, trace = self._decode(self.backbone(), PROMPTS, plan, Draw())
        open_ = canvas.padded(trace.order.shape[1]).open
        if fill == "best":
            assert (trace.order >= 0)[open_].all(), "what an ended row leaves open is filled with the best tokens"

    @at_temperatures
    def test_it_never_makes_a_decode_longer(self, temperature: float) -> None:
        plan, draw = Plan(length=9, block=4), Draw(temperature=temperature)
        _, filled, trace = self._decode(self.backbone(), PROMPTS, plan, draw)
        without = replace(self.sampler(self.make(), plan, draw), stop=None)
        _, whole, traced = decode_with(without, self.backbone(), PROMPTS)
        more = int(trait("stop", self.make(), "fill") == "best")  # the forward that fills the rest
        assert (trace.rows <= traced.rows + more).all(), "rows that may end early cost more forwards"
        wrote = (trace.order >= 0) & (trace.order < trace.ticks[:, None] - more)
        columns = min(wrote.shape[1], whole.tokens.shape[1])
        kept = wrote[:, :columns]
        assert torch.equal(filled.tokens[:, :columns][kept], whole.tokens[:, :columns][kept]), (
            "what was written before a row ended is what is written without the rule"
        )
