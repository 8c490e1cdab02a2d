"""The contract of a select: `(step, scores) -> Actions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.loop.sampler import Sampler
from mdmkit.stage.traits import trait
from mdmkit.testing.reference import ByConfidence, LeastEntropyLeft
from mdmkit.testing.stage import SEEDS, StageContract, at_temperatures, in_columns
from mdmkit.testing.steps import Moment

if TYPE_CHECKING:
    from mdmkit.settings.draw import Draw
    from mdmkit.settings.plan import Plan
    from mdmkit.stage.actions import Actions


class SelectContract(StageContract):
    """Test a select. Set `component`, or define `make`."""

    kind = "select"

    def inputs(self, moment: Moment) -> tuple[Any, ...]:
        return moment.step(), moment.where(moment.scores).clone()

    def facts(self, moment: Moment, result: Actions) -> dict[str, Tensor]:
        place = result.place & result.live[..., None]
        facts = {
            "place": in_columns(moment, place, False),
            "tokens": in_columns(moment, torch.where(place, result.tokens, -1), -1),
            "live": result.live.long(),
        }
        return facts if result.steps is None else facts | {"steps": result.steps.masked_fill(~result.live, 0)}

    def sampler(self, stage: Any, plan: Plan, draw: Draw) -> Sampler:
        return Sampler(score=ByConfidence(), select=stage, lookahead=LeastEntropyLeft(), plan=plan, draw=draw)

    @at_temperatures
    def test_actions_have_their_shapes(self, temperature: float) -> None:
        step, scores = self.inputs(self.moment(temperature=temperature))
        actions = self.make()(step, scores)
        n = actions.live.shape[1]
        assert list(actions.live.shape) == [step.rows, n], "live is [B, N]"
        assert list(actions.place.shape) == [step.rows, n, step.width], "place is [B, N, W]"
        assert list(actions.tokens.shape) == [step.rows, n, step.width], "tokens are [B, N, W]"
        assert (actions.live.dtype, actions.place.dtype) == (torch.bool, torch.bool), "live and place are bool"
        assert actions.tokens.dtype == torch.int64, "tokens are int64"
        most = trait("select", self.make(), "alternatives")
        assert n <= most, f"{n} alternatives proposed, but `alternatives` says at most {most}"
        if actions.steps is not None:
            assert list(actions.steps.shape) == [step.rows, n], "steps are [B, N]"
            assert actions.steps.dtype == torch.int64, "steps are int64"
            assert (actions.steps[actions.live] >= 1).all(), "an action stands for at least one step of the plan"

    @at_temperatures
    def test_fills_open_positions_only(self, temperature: float) -> None:
        for step, actions in self._proposed(temperature):
            assert not (actions.place & ~step.open[:, None]).any(), "a position that is not open is filled"

    @at_temperatures
    def test_the_first_alternative_fills_something_in_every_row_that_can(self, temperature: float) -> None:
        for step, actions in self._proposed(temperature):
            can = step.open.any(1)
            assert actions.place[can, 0].any(-1).all(), "alternative 0 fills no position of a row with open positions"
            assert actions.live[can, 0].all(), "alternative 0 is not live in a row with open positions"
            assert (actions.place.any(-1) | ~actions.live).all(), "a live alternative fills nothing"

    @at_temperatures
    def test_an_idle_row_proposes_nothing(self, temperature: float) -> None:
        for step, actions in self._proposed(temperature):
            idle = ~step.open.any(1)
            assert idle.any(), "the moment has idle rows"
            assert not actions.place[idle].any(), "a row with nothing open is written to"
            assert not actions.live[idle].any(), "a row with nothing open proposes a live alternative"

    @at_temperatures
    def test_never_chooses_a_forbidden_token(self, temperature: float) -> None:
        for step, actions in self._proposed(temperature):
            chosen = step.belief.logits[:, None].expand(-1, actions.live.shape[1], -1, -1)
            chosen = chosen.gather(-1, actions.tokens.clamp(0, chosen.shape[-1] - 1)[..., None])[..., 0]
            used = actions.place & actions.live[..., None]
            inside = (actions.tokens >= 0) & (actions.tokens < step.belief.logits.shape[-1])
            assert inside[used].all(), "a token outside the vocabulary is written"
            assert (chosen[used] > -torch.inf).all(), "a mask or another forbidden token is written"

    def _proposed(self, temperature: float) -> Any:
        for seed in SEEDS:
            step, scores = self.inputs(self.moment(seed, temperature=temperature))
            yield step, self.make()(step, scores)
