"""The laws that hold for every kind of stage."""

from __future__ import annotations

import copy
import dataclasses
from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import Tensor

from mdmkit.canvas.prompt import Prompt
from mdmkit.config.schema import build, parameters
from mdmkit.errors import MdmkitError
from mdmkit.loop.whole import fill_canvas
from mdmkit.settings.draw import Draw
from mdmkit.settings.plan import Plan
from mdmkit.stage.checking import check_part
from mdmkit.stage.memory import Memory
from mdmkit.stage.traits import trait
from mdmkit.testing.contract import Contract
from mdmkit.testing.laws import Patience, call_without_host, no_global_randomness, unmutated
from mdmkit.testing.steps import Moment, make_moment
from mdmkit.testing.toy import ToyBackbone

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.trace import Trace
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone

SEEDS = range(3)
PROMPTS = ("ab", "c__d_a", "_", "abcdefg", "")
at_temperatures = pytest.mark.parametrize("temperature", [0.0, 0.7])


class StageContract(Contract):
    """Set `component` to the stage's class, or define `make` for one with other parameters."""

    component: ClassVar[Any] = None
    kind: ClassVar[str]
    ends_early: ClassVar[bool] = False

    def make(self) -> Any:
        """Build the stage under test."""
        assert self.component is not None, f"{type(self).__name__}: set `component`, or define `make`"
        return type(self).component()

    def moment(self, seed: int = 0, **options: Any) -> Moment:
        """Draw a moment to call the stage in; override it if the stage reads more than `make_moment` gives."""
        return make_moment(seed, **options)

    def backbone(self) -> Backbone:
        """The model to decode with; override it if the stage `reads` an extra that the toy does not offer."""
        return ToyBackbone(dtype=torch.float64)

    @abstractmethod
    def inputs(self, moment: Moment) -> tuple[Any, ...]:
        """Return the arguments of the stage's call."""

    @abstractmethod
    def facts(self, moment: Moment, result: Any) -> dict[str, Tensor]:
        """Return the result as tensors [B, …] or [B, …, T] that do not depend on the window, to compare rows."""

    @abstractmethod
    def sampler(self, stage: Any, plan: Plan, draw: Draw) -> Sampler:
        """Make a whole sampler with the stage."""

    def call(self, stage: Any, *inputs: Any) -> Any:
        """Call the stage as the loop does."""
        return stage(*inputs)

    def _facts(self, moment: Moment) -> dict[str, Tensor]:
        with torch.no_grad():
            return self.facts(moment, self.call(self.make(), *self.inputs(moment)))

    # -- what it is ----------------------------------------------------------------------------------------------------

    def test_is_a_frozen_dataclass_with_defaults(self) -> None:
        assert dataclasses.is_dataclass(self.make()), "write @dataclass(frozen=True) above the class"
        kind: Any = type(self.make())
        stage = kind()  # every field has a default
        with pytest.raises(dataclasses.FrozenInstanceError):
            stage.anything = None  # write @dataclass(frozen=True)
        assert stage == kind(), "two stages with equal parameters are equal"

    def test_parameters_survive_a_config(self) -> None:
        stage = self.make()
        again = build(type(stage), parameters(stage), type(stage).__name__, "stage")
        assert again == stage, f"{stage} comes back from its configuration as {again}"

    def test_its_constants_are_traits_of_its_kind(self) -> None:
        try:
            check_part(self.kind, self.make())
        except MdmkitError as error:
            pytest.fail(str(error))

    # -- rows, columns, slots ------------------------------------------------------------------------------------------

    @at_temperatures
    def test_each_row_alone_is_as_in_the_batch(self, temperature: float) -> None:
        for seed in SEEDS:
            moment = self.moment(seed, temperature=temperature)
            together = self._facts(moment)
            for row in moment.busy:
                _same(self._facts(moment.rows([row])), together, [row], f"row {row} alone")

    @at_temperatures
    def test_order_of_rows_does_not_matter(self, temperature: float) -> None:
        for seed in SEEDS:
            moment = self.moment(seed, temperature=temperature)
            order = list(range(len(moment.ids)))[::-1]
            _same(self._facts(moment.rows(order)), self._facts(moment), order, "reversed rows")

    @at_temperatures
    def test_more_columns_and_a_wider_window_do_not_matter(self, temperature: float) -> None:
        for seed in SEEDS:
            moment = self.moment(seed, temperature=temperature)
            rows, expected = list(range(len(moment.ids))), self._facts(moment)
            _same(self._facts(moment.padded(3)), expected, rows, "more columns on the right")
            _same(self._facts(moment.wider(2)), expected, rows, "a wider window, as beside rows with longer blocks")

    @at_temperatures
    def test_where_a_row_is_kept_does_not_matter(self, temperature: float) -> None:
        for seed in SEEDS:
            moment = self.moment(seed, temperature=temperature)
            rows = list(range(len(moment.ids)))
            memory, device = Memory(rows=2 * len(rows)), moment.open.device
            among = torch.tensor([2 * row + 1 for row in reversed(rows)], device=device)
            _same(
                self._facts(moment.remembering(memory, among)),
                self._facts(moment),
                rows,
                "the rows of the step are some of the rows at work",
            )

    @at_temperatures
    def test_reads_filled_positions_only_if_it_says_so(self, temperature: float) -> None:
        stage = self.make()
        rewrites = self.kind == "commit" and trait("commit", stage, "rewrites")
        if "written" in trait(self.kind, stage, "reads") or rewrites or self.kind == "constraint":
            return
        for seed in SEEDS:
            moment = self.moment(seed, temperature=temperature)
            rows = list(range(len(moment.ids)))
            _same(
                self._facts(replace(moment, open_only=True)),
                self._facts(moment),
                rows,
                'the belief at filled positions is read: write reads = ("written",) in the class, or use step.open',
            )

    # -- memory --------------------------------------------------------------------------------------------------------

    @at_temperatures
    def test_a_row_that_joins_is_as_alone(self, temperature: float) -> None:
        for seed in SEEDS:
            moment = self.moment(seed, temperature=temperature)
            rows = list(range(len(moment.ids)))
            old, new = rows[::2], rows[1::2]
            memory = self._history(moment.rows(old))
            memory.join(len(new))
            together = self._facts(moment.rows(old + new).remembering(memory))
            joined = list(range(len(old), len(rows)))
            _same(self._facts(moment.rows(new)), together, joined, "a row that joins rows with a past")

    @at_temperatures
    def test_what_is_remembered_stays_with_its_row(self, temperature: float) -> None:
        for seed in SEEDS:
            moment = self.moment(seed, temperature=temperature)
            later, rows = moment.later(2), list(range(len(moment.ids)))
            expected = self._facts(later.remembering(self._history(moment)))
            some = [row for row in rows if row % 3 != 1][::-1]
            index, memory = torch.tensor(some, device=moment.open.device), self._history(moment)
            _same(self._facts(later.rows(some).remembering(memory, index)), expected, some, "a step of some rows only")
            memory = self._history(moment)
            memory.take(index)
            _same(self._facts(later.rows(some).remembering(memory)), expected, some, "after the others have left")
            for what, other in (("wider windows", later.wider(2)), ("more columns", later.padded(3))):
                _same(self._facts(other.remembering(self._history(moment))), expected, rows, f"{what} than before")

    @at_temperatures
    def test_a_row_that_enters_a_block_forgets_what_was_kept_until_then(self, temperature: float) -> None:
        for seed in SEEDS:
            moment = self.moment(seed, temperature=temperature)
            memory, later = self._history(moment), moment.later(2)
            if not memory.kept or any(kept.until != "block" for kept in memory.kept.values()):
                return  # it remembers nothing, or beyond the block
            entered = list(range(0, len(moment.ids), 2))
            memory.enter_block(torch.tensor(entered, device=moment.open.device))
            together = self._facts(later.remembering(memory))
            _same(self._facts(later.rows(entered)), together, entered, "a row that has entered a block")

    def _history(self, moment: Moment) -> Memory:
        """A memory after two steps of each row."""
        memory = Memory(rows=len(moment.ids))
        for steps in (0, 1):
            self._facts(moment.later(steps).remembering(memory))
        return memory

    # -- how it computes -----------------------------------------------------------------------------------------------

    @at_temperatures
    def test_same_call_gives_the_same(self, temperature: float) -> None:
        moment = self.moment(temperature=temperature)
        with no_global_randomness():
            first = self._facts(moment)
        again = self._facts(moment)
        for name, value in first.items():
            _agree(again[name], value, f"two equal calls differ in {name}", tolerance=0)

    @at_temperatures
    def test_inputs_are_not_written_to(self, temperature: float) -> None:
        stage = self.make()
        before = copy.deepcopy(_state(stage))
        memory = Memory(rows=7)
        for steps in (0, 1):  # the second time with something remembered
            inputs = self.inputs(self.moment(temperature=temperature).later(steps).remembering(memory))
            with torch.no_grad(), unmutated(*inputs):
                self.call(stage, *inputs)
        assert _state(stage) == before, "what lasts between steps is kept with step.keep, never on the stage"

    @at_temperatures
    def test_never_waits_for_the_device(self, temperature: float) -> None:
        moment = self.moment(temperature=temperature, top_p=0.9)
        with torch.no_grad():
            inputs = self.inputs(moment)
        stage = self.make()
        call_without_host(stage, *inputs, call=self.call)

    # -- whole decodes -------------------------------------------------------------------------------------------------

    def test_decodes_to_the_end(self) -> None:
        backbone = self.backbone()
        never: list[int] = [*backbone.forbidden, *(() if backbone.mask_id is None else (backbone.mask_id,))]
        for length in (1, 5, 8):
            for block in (None, 1, 3, 16):
                for steps in (None, 1, 3, 20):
                    plan = Plan(length=length, block=block, steps=steps)
                    canvas, filled, trace = self._decode(backbone, PROMPTS, plan, Draw())
                    assert not filled.open.any(), f"open places survive with {plan}"
                    same = canvas.padded(filled.tokens.shape[1])
                    given = same.fixed
                    assert torch.equal(filled.tokens[given], same.tokens[given]), f"given tokens changed with {plan}"
                    wrote = trace.order.ge(0)
                    assert self.ends_early or wrote[same.open].all(), f"places were never written with {plan}"
                    for token in never:
                        assert not (filled.tokens[same.open & wrote] == token).any(), (
                            f"token {token} was chosen, which is forbidden"
                        )

    @at_temperatures
    def test_a_prompt_decodes_alone_as_in_a_batch(self, temperature: float) -> None:
        backbone = self.backbone()
        plan, draw = Plan(length=7, block=4, tokens_per_step=2), Draw(temperature=temperature)
        _, together, traces = self._decode(backbone, PROMPTS, plan, draw)
        for row, prompt in enumerate(PROMPTS):
            _, filled, trace = self._decode(backbone, [prompt], plan, draw, first_seed=row)
            for name, own, all_ in (
                ("tokens", filled.tokens[0][filled.valid[0]], together.tokens[row][together.valid[row]]),
                ("NFE", trace.rows, traces.rows[row : row + 1]),
            ):
                assert own.tolist() == all_.tolist(), f"prompt {prompt!r} alone has other {name} than in the batch"

    @at_temperatures
    def test_decodes_with_a_model_that_is_certain(self, temperature: float) -> None:
        backbone, plan = certain(self.backbone()), Plan(length=8, block=4, tokens_per_step=2)
        try:
            self._decode(backbone, PROMPTS, plan, Draw(temperature=temperature))
        except MdmkitError as error:
            pytest.fail(f"where probabilities are 1 and 0: {error}")

    def _decode(
        self, backbone: Backbone, prompts: Any, plan: Plan, draw: Draw, first_seed: int = 0
    ) -> tuple[Canvas, Canvas, Trace]:
        return decode_with(self.sampler(self.make(), plan, draw), backbone, prompts, first_seed)


def certain(backbone: Backbone) -> Backbone:
    """Change a model so that its probabilities round to 1 and 0: a part that divides by 1 − p gives NaN."""
    project = backbone.project
    backbone.project = lambda hidden: project(hidden) * 1e4  # type: ignore[method-assign]
    return backbone


def decode_with(
    sampler: Sampler, backbone: Backbone, prompts: Any, first_seed: int = 0
) -> tuple[Canvas, Canvas, Trace]:
    """Decode texts; return the canvas before and after, and the trace. A decode that does not end is an error."""
    rows = [Prompt(text=text, seed=first_seed + i, index=i) for i, text in enumerate(prompts)]
    canvas, conditioning = backbone.encode(rows, sampler.plan)
    patience = Patience(20 * canvas.tokens.numel())
    return canvas, *fill_canvas(sampler, backbone, canvas, conditioning, [patience])


def in_columns(moment: Moment, values: Tensor, fill: Any) -> Tensor:
    """Put values of windows, [B, W] or [B, N, W], into the columns of each row's own block, [B, …, T]."""
    where = moment.where
    if values.dim() == 2:
        blank = torch.full((len(values), moment.columns), fill, dtype=values.dtype, device=values.device)
        return where.put(blank, values)
    return torch.stack([in_columns(moment, each, fill) for each in values.unbind(1)], 1)


def _state(stage: Any) -> dict[str, Any]:
    return vars(stage) if hasattr(stage, "__dict__") else dataclasses.asdict(stage)


def _same(got: dict[str, Tensor], expected: dict[str, Tensor], rows: list[int], what: str) -> None:
    """Compare facts with those of some rows; columns that only one of the two has are padding."""
    for name, value in got.items():
        wanted = expected[name][rows]
        if value.shape[-1] != wanted.shape[-1] and value.dim() > 1:
            columns = min(value.shape[-1], wanted.shape[-1])
            value, wanted = value[..., :columns], wanted[..., :columns]
        _agree(value, wanted, f"{what}: {name} differs")


def _agree(got: Tensor, wanted: Tensor, what: str, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(
        got, wanted, rtol=tolerance, atol=tolerance, equal_nan=True, msg=lambda m: f"{what}. {m}"
    )
