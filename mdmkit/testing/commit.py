"""The contract of a commit: `(step, actions, choice [B]) -> Canvas`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.loop.sampler import Sampler
from mdmkit.stage.write import Write
from mdmkit.testing.reference import ByConfidence, TakeQuota
from mdmkit.testing.stage import SEEDS, StageContract, at_temperatures
from mdmkit.testing.steps import Moment, make_moment

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.settings.draw import Draw
    from mdmkit.settings.plan import Plan


class CommitContract(StageContract):
    """Write the chosen action. Set `component`, or define `make`.

    A commit whose result can differ from the plainly written action says so with `rewrites = True`; any other must
    give exactly what `mdmkit.stage.write.Write` gives.
    """

    def inputs(self, moment: Moment, span: slice) -> tuple[Any, ...]:
        return moment.step(span), moment.actions(span), moment.choice(span)

    def facts(self, moment: Moment, span: slice, result: Canvas) -> dict[str, Tensor]:
        return {"tokens": result.tokens}

    def sampler(self, stage: Any, plan: Plan, draw: Draw) -> Sampler:
        return Sampler(score=ByConfidence(), select=TakeQuota(), commit=stage, plan=plan, draw=draw)

    @at_temperatures
    def test_keeps_the_canvas_but_for_its_tokens(self, temperature: float) -> None:
        for before, after, _ in self._committed(temperature):
            assert after.tokens.shape == before.tokens.shape, "tokens are [B, T]"
            assert after.tokens.dtype == torch.int64, "tokens are int64"
            for name in ("editable", "valid", "seed", "infill"):
                assert torch.equal(getattr(after, name), getattr(before, name)), f"canvas.{name} changed"
            assert (after.mask_id, after.grid) == (before.mask_id, before.grid), "mask_id or grid changed"

    @at_temperatures
    def test_prompt_and_given_context_never_change(self, temperature: float) -> None:
        for before, after, _ in self._committed(temperature):
            changed = after.tokens != before.tokens
            assert not (changed & ~before.editable).any(), "a position that is not editable changed"

    @at_temperatures
    def test_columns_outside_the_window_and_idle_rows_never_change(self, temperature: float) -> None:
        for before, after, step in self._committed(temperature):
            changed = after.tokens != before.tokens
            assert not changed[:, : step.span.start].any(), "a column left of the window changed"
            assert not changed[:, step.span.stop :].any(), "a column right of the window changed"
            assert not changed[~step.open.any(1)].any(), "a row with nothing open changed"
            assert not (changed[:, step.span] & ~step.member).any(), "a column outside the row's own block changed"

    @at_temperatures
    def test_writes_the_action_unless_it_says_otherwise(self, temperature: float) -> None:
        for seed in SEEDS:
            inputs = self.inputs(moment := make_moment(seed, temperature=temperature), moment.hull)
            stage = self.make()
            same = torch.equal(stage(*inputs).tokens, Write()(*inputs).tokens)
            assert same or getattr(stage, "rewrites", False), (
                "the result is not the action as written: set `rewrites = True`"
            )

    def _committed(self, temperature: float) -> Any:
        for seed in SEEDS:
            moment = make_moment(seed, temperature=temperature)
            inputs = self.inputs(moment, moment.hull)
            yield moment.canvas, self.make()(*inputs), inputs[0]
