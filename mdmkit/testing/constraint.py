"""The contract of a constraint: `shape(logits, states, columns)` and `settle(step, actions)`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit import ops
from mdmkit.loop.sampler import Sampler
from mdmkit.settings.draw import Draw
from mdmkit.settings.plan import Plan
from mdmkit.stage.actions import Actions
from mdmkit.stage.look import States
from mdmkit.stage.shifted import Shifted
from mdmkit.stage.traits import trait
from mdmkit.testing.reference import ByConfidence, LeastEntropyLeft, Spread
from mdmkit.testing.stage import PROMPTS, SEEDS, StageContract, at_temperatures, in_columns
from mdmkit.testing.steps import Moment

if TYPE_CHECKING:
    from mdmkit.stage.step import Step

TOLERANCE = 1e-5


class ConstraintContract(StageContract):
    """Test a constraint. Set `component`, or define `make`. Define `holds` too, so that decoded rows are checked.

    Which tokens a state allows must depend on this state only, because states come in any number and order, and with
    any part of their columns.
    """

    kind = "constraint"

    def holds(self, tokens: list[int]) -> bool:
        """Return True if a decoded row, prompt tokens included, keeps the constraint."""
        return True

    def call(self, stage: Any, *inputs: Any) -> Any:
        logits, states, columns, step, actions, asked = inputs
        return _shaped(asked, logits, states, columns), _settled(asked, step, actions)

    def prepared(self, moment: Moment) -> Any:
        """Return the constraint as the loop asks it, with what it needs of the model."""
        stage, never = self.make(), torch.zeros(moment.backbone.vocab, dtype=torch.bool, device=moment.open.device)
        never[[*moment.backbone.forbidden, moment.canvas.blank_id]] = True
        return stage.prepare(moment.backbone, never) if hasattr(stage, "prepare") else stage

    def inputs(self, moment: Moment) -> tuple[Any, ...]:
        step = moment.step()
        rows = torch.arange(len(moment.ids), device=moment.open.device)
        canvas = moment.canvas
        states = States(canvas.tokens, canvas.open, rows, step.where, step.answer, canvas.infill)
        logits = step.belief.logits
        asked = self.prepared(moment)
        return logits.masked_fill(logits.isnan(), 0.0), states, step.position, step, moment.actions(), asked

    def facts(self, moment: Moment, result: tuple[Tensor, Actions]) -> dict[str, Tensor]:
        logits, actions = result
        place = actions.place & actions.live[..., None]
        inside = moment.where(moment.canvas.valid) & moment.where.member
        each = logits.float().masked_fill(~inside[..., None], 0.0)
        return {
            # −inf must equal −inf; V goes before the columns.
            "logits": in_columns(moment, each.nan_to_num(neginf=-1e9).transpose(1, 2), 0.0),
            "place": in_columns(moment, place, False),
            "tokens": in_columns(moment, torch.where(place, actions.tokens, -1), -1),
            "live": actions.live.long(),
        }

    def sampler(self, stage: Any, plan: Plan, draw: Draw) -> Sampler:
        return Sampler(ByConfidence(), Spread(4), LeastEntropyLeft(), constraint=stage, plan=plan, draw=draw)

    @at_temperatures
    def test_shapes_logits_and_allows_nothing_that_was_forbidden(self, temperature: float) -> None:
        for stage, (logits, states, columns, step, *_) in self._called(temperature):
            shaped = _shaped(stage, logits, states, columns)
            assert shaped.shape == logits.shape, "logits are [m, S, V]"
            assert shaped.dtype == logits.dtype, f"logits stay {logits.dtype}, not {shaped.dtype}"
            assert not shaped[step.open].isnan().any(), "a logit is NaN"
            was = (logits == -torch.inf)[step.open]
            assert (shaped[step.open][was] == -torch.inf).all(), "a token is allowed that the model or the user forbids"
            left = (shaped > -torch.inf).any(-1)
            assert left[step.open].all(), "an open place is left without any token"

    @at_temperatures
    def test_a_part_of_the_columns_is_shaped_as_in_the_whole(self, temperature: float) -> None:
        if trait("constraint", self.make(), "whole"):
            return  # it always gets all open columns
        for stage, (logits, states, columns, step, *_) in self._called(temperature):
            whole = _shaped(stage, logits, states, columns)
            for size in (1, 3):
                parts = zip(logits.split(size, 1), columns.split(size, 1), strict=True)
                shaped = torch.cat([_shaped(stage, part, states, place) for part, place in parts], 1)
                torch.testing.assert_close(
                    shaped[step.open],
                    whole[step.open],
                    rtol=TOLERANCE,
                    atol=TOLERANCE,
                    msg=f"{size} columns at a time, as a look asks, are shaped in another way",
                )

    @at_temperatures
    def test_several_states_of_one_row_are_shaped_each_by_itself(self, temperature: float) -> None:
        for stage, (logits, states, columns, step, actions, _) in self._called(temperature):
            tokens, open_ = step.states(actions)
            n = tokens.shape[1]
            rows = torch.arange(step.rows, device=tokens.device).repeat_interleave(n)
            many = replace(states.at(rows), tokens=tokens.flatten(0, 1), open=open_.flatten(0, 1), rows=rows)
            together = _shaped(stage, logits[rows], many, columns[rows]).unflatten(0, (step.rows, n))
            for i in range(n):
                # Indices of rows change when rows leave, so a constraint must not depend on them.
                one = replace(states, tokens=tokens[:, i], open=open_[:, i], rows=states.rows + 100)
                alone = _shaped(stage, logits, one, columns)
                remain = step.where(open_[:, i]) & step.member
                torch.testing.assert_close(
                    alone[remain],
                    together[:, i][remain],
                    rtol=TOLERANCE,
                    atol=TOLERANCE,
                    msg="a state is shaped in another way beside others, or by the number of its row",
                )

    @at_temperatures
    def test_settles_what_was_proposed(self, temperature: float) -> None:
        for stage, (_, _, _, step, actions, _) in self._called(temperature):
            settled = _settled(stage, step, actions)
            for name in ("place", "tokens", "live"):
                own, was = getattr(settled, name), getattr(actions, name)
                assert own.shape == was.shape, f"{name} keeps its shape"
                assert own.dtype == was.dtype, f"{name} keeps its type"
            place = settled.place & settled.live[..., None]
            assert not (place & ~step.open[:, None]).any(), "a place that is not open is filled"
            assert not (settled.live & ~actions.live).any(), "an alternative came to life"
            could = actions.live.any(1)
            assert place.flatten(1).any(1)[could].all(), "a row with open places is left with nothing to do"
            logits = step.belief.logits[:, None].expand(-1, place.shape[1], -1, -1)
            chosen = logits.gather(-1, settled.tokens.clamp(0, logits.shape[-1] - 1)[..., None])[..., 0]
            assert (chosen[place] > -torch.inf).all(), "a mask or another forbidden token is written"

    @at_temperatures
    def test_decoded_rows_keep_it(self, temperature: float) -> None:
        for plan in (Plan(length=6), Plan(length=8, block=3, tokens_per_step=2)):
            _, filled, _ = self._decode(self.backbone(), PROMPTS, plan, Draw(temperature=temperature))
            for row, valid in zip(filled.tokens, filled.valid, strict=True):
                tokens = row[valid].tolist()
                assert self.holds(tokens), f"the decoded row {tokens} does not keep the constraint"

    def _called(self, temperature: float) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        for seed in SEEDS:
            inputs = self.inputs(self.moment(seed, temperature=temperature))
            yield inputs[-1], inputs


def _shaped(stage: Any, logits: Tensor, states: States, columns: Tensor) -> Tensor:
    """Ask for logits [m, S, V]. A constraint on whole answers gets those of open positions only; others stay."""
    if not trait("constraint", stage, "whole"):
        return _made(stage.shape(logits, states, columns))
    assert states.window is not None
    open_, flat = states.window(states.open) & states.window.member, logits.flatten(0, 1)
    places = ops.marked(open_, open_.numel())
    own = _made(stage.shape(flat[places], replace(states, places=places), columns))
    assert own.shape == flat[places].shape, "logits at the open places are [n, V]"
    assert own.dtype == logits.dtype, f"logits stay {logits.dtype}, not {own.dtype}"
    own = torch.where(open_.flatten()[places, None], own, flat[places])
    return flat.index_copy(0, places, own).view_as(logits)


def _made(shaped: Tensor | Shifted) -> Tensor:
    """The logits; the statistics of `Shifted` must be theirs."""
    if not isinstance(shaped, Shifted):
        return shaped
    logits = shaped.made
    if not ops.readable(logits):  # what it does on a device is looked at, and there are no numbers
        return logits
    own, fresh = shaped.stats, ops.stats(logits)
    some = fresh.top > -torch.inf
    for name in ("top", "lse", "entropy"):
        x, y = (getattr(each, name)[some] for each in (own, fresh))
        message = f"{name} of the statistics is not that of the logits"
        torch.testing.assert_close(x, y, rtol=TOLERANCE, atol=TOLERANCE, msg=message)
    best = logits.gather(-1, own.argmax[..., None])[..., 0].to(fresh.top.dtype)
    message = "argmax of the statistics is not a most probable token"
    torch.testing.assert_close(best[some], fresh.top[some], rtol=TOLERANCE, atol=TOLERANCE, msg=message)
    return logits


def _settled(stage: Any, step: Step, actions: Actions) -> Actions:
    return stage.settle(step, actions) if hasattr(stage, "settle") else actions
