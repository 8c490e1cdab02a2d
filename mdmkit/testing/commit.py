"""The contract of a commit: `(step, actions, choice [B]) -> Canvas`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.loop.sampler import Sampler
from mdmkit.stage.traits import trait
from mdmkit.stage.write import Write
from mdmkit.testing.reference import ByConfidence, TakeQuota
from mdmkit.testing.stage import SEEDS, StageContract, at_temperatures
from mdmkit.testing.steps import Moment

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.settings.draw import Draw
    from mdmkit.settings.plan import Plan
    from mdmkit.stage.step import Step


class CommitContract(StageContract):
    """Test a commit. Set `component`, or define `make`.

    If the result can differ from the action as written, the commit must have `rewrites = True`. Any other commit must
    return the same tokens and open positions as `mdmkit.stage.write.Write`.
    """

    kind = "commit"

    def moment(self, seed: int = 0, **options: Any) -> Moment:
        return super().moment(seed, **options).lingering(trait("commit", self.make(), "lingers"))

    def inputs(self, moment: Moment) -> tuple[Any, ...]:
        return moment.step(), moment.actions(), moment.choice()

    def facts(self, moment: Moment, result: Canvas) -> dict[str, Tensor]:
        return {"tokens": result.tokens, "open": result.open, "valid": result.valid, "editable": result.editable}

    def sampler(self, stage: Any, plan: Plan, draw: Draw) -> Sampler:
        return Sampler(score=ByConfidence(), select=TakeQuota(), commit=stage, plan=plan, draw=draw)

    @at_temperatures
    def test_changes_tokens_and_open_places_only(self, temperature: float) -> None:
        grows = trait("commit", self.make(), "grows")
        for before, after, _ in self._committed(temperature):
            assert after.tokens.shape == before.tokens.shape, "tokens are [B, T]"
            assert after.tokens.dtype == torch.int64, "tokens are int64"
            assert after.open.shape == before.open.shape, "open is [B, T]"
            assert after.open.dtype == torch.bool, "open is bool"
            for name in ("seed", "infill", "surplus", *(() if grows else ("editable", "valid"))):
                assert torch.equal(getattr(after, name), getattr(before, name)), f"canvas.{name} changed"
            for name in ("mask_id", "grid", "block", "room"):
                assert getattr(after, name) == getattr(before, name), f"canvas.{name} changed"

    @at_temperatures
    def test_prompt_and_given_context_never_change(self, temperature: float) -> None:
        for before, after, _ in self._committed(temperature):
            own = before.editable | (after.editable & ~before.valid)
            assert not (_changed(before, after) & ~own).any(), "a place that is not to be filled changed"

    @at_temperatures
    def test_columns_outside_the_block_and_idle_rows_never_change(self, temperature: float) -> None:
        for before, after, step in self._committed(temperature):
            changed = _changed(before, after)
            own = step.spread(step.member)
            assert not (changed & ~own).any(), "a column outside the row's own block changed"
            assert not changed[~step.active].any(), "a row that takes no step changed"

    @at_temperatures
    def test_an_open_place_holds_the_blank_and_a_filled_one_a_token(self, temperature: float) -> None:
        for before, after, _ in self._committed(temperature):
            assert (after.tokens[after.open] == after.blank_id).all(), (
                "something stands at an open place: open places with canvas.reopened(place)"
            )
            closed = before.open & ~after.open
            assert before.mask_id is None or not (after.tokens[closed] == before.mask_id).any(), (
                "the mask's id was written as a token: open places with canvas.reopened(place)"
            )

    @at_temperatures
    def test_writes_the_action_unless_it_says_otherwise(self, temperature: float) -> None:
        for seed in SEEDS:
            inputs = self.inputs(self.moment(seed, temperature=temperature))
            stage = self.make()
            after, plain = stage(*inputs), Write()(*inputs)
            same = torch.equal(after.tokens, plain.tokens) and torch.equal(after.open, plain.open)
            assert same or trait("commit", stage, "rewrites"), (
                "the result is not the action as written: set `rewrites = True`"
            )

    @at_temperatures
    def test_replaces_no_token_if_it_says_so(self, temperature: float) -> None:
        if not trait("commit", self.make(), "only_reopens"):
            return
        for seed in SEEDS:
            inputs = self.inputs(self.moment(seed, temperature=temperature))
            after, plain = self.make()(*inputs), Write()(*inputs)
            filled = ~after.open
            assert not (filled & (plain.open | (after.tokens != plain.tokens))).any(), (
                "a token was replaced, or written without the action, although `only_reopens` is True"
            )

    def test_what_lingers_or_grows_rewrites(self) -> None:
        stage = self.make()
        assert trait("commit", stage, "rewrites") or not any(
            trait("commit", stage, name) for name in ("lingers", "grows", "only_reopens")
        ), "a commit that lingers, grows or only reopens needs `rewrites = True`"

    def _committed(self, temperature: float) -> Iterator[tuple[Canvas, Canvas, Step]]:
        for seed in SEEDS:
            moment = self.moment(seed, temperature=temperature)
            inputs = self.inputs(moment)
            yield moment.canvas, self.make()(*inputs), inputs[0]


def _changed(before: Canvas, after: Canvas) -> Tensor:
    """bool [B, T]."""
    return (after.tokens != before.tokens) | (after.open != before.open)
