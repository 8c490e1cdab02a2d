"""The laws that hold for every stage, whichever hook it fills."""

from __future__ import annotations

import copy
import dataclasses
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import Tensor

from mdmkit.canvas.prompt import Prompt
from mdmkit.config.schema import build, parameters
from mdmkit.loop.whole import fill_canvas
from mdmkit.settings.draw import Draw
from mdmkit.settings.plan import Plan
from mdmkit.testing.contract import Contract
from mdmkit.testing.laws import Patience, call_without_host, no_global_randomness, unmutated
from mdmkit.testing.steps import Moment, make_moment
from mdmkit.testing.toy import ToyBackbone

if TYPE_CHECKING:
    from mdmkit.loop.sampler import Sampler

SEEDS = range(3)
PROMPTS = ("ab", "c__d_a", "_", "abcdefg", "")
at_temperatures = pytest.mark.parametrize("temperature", [0.0, 0.7])


class StageContract(Contract):
    """Set `component` to the stage's class, or define `make` for one with other parameters."""

    component: ClassVar[Any] = None

    def make(self) -> Any:
        """Build the stage under test."""
        assert self.component is not None, f"{type(self).__name__}: set `component`, or define `make`"
        return type(self).component()

    @abstractmethod
    def inputs(self, moment: Moment, span: slice) -> tuple[Any, ...]:
        """What the stage is called with."""

    @abstractmethod
    def facts(self, moment: Moment, span: slice, result: Any) -> dict[str, Tensor]:
        """The result as [B, …] tensors that no longer depend on the window, ready to compare row by row."""

    @abstractmethod
    def sampler(self, stage: Any, plan: Plan, draw: Draw) -> Sampler:
        """A whole sampler around the stage."""

    def _facts(self, moment: Moment, span: slice | None = None) -> dict[str, Tensor]:
        span = span or moment.hull
        with torch.no_grad():
            return self.facts(moment, span, self.make()(*self.inputs(moment, span)))

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

    @at_temperatures
    def test_each_row_alone_is_as_in_the_batch(self, temperature: float) -> None:
        for seed in SEEDS:
            moment = make_moment(seed, temperature=temperature)
            together = self._facts(moment)
            for row in moment.busy:
                _same(self._facts(moment.rows([row])), together, [row], f"row {row} alone")

    @at_temperatures
    def test_order_of_rows_does_not_matter(self, temperature: float) -> None:
        for seed in SEEDS:
            moment = make_moment(seed, temperature=temperature)
            order = list(range(len(moment.open)))[::-1]
            _same(self._facts(moment.rows(order)), self._facts(moment), order, "reversed rows")

    @at_temperatures
    def test_padding_and_a_wider_window_do_not_matter(self, temperature: float) -> None:
        for seed in SEEDS:
            moment = make_moment(seed, temperature=temperature)
            rows = list(range(len(moment.open)))
            expected, hull = self._facts(moment), moment.hull
            _same(self._facts(moment.padded(3)), expected, rows, "more padding", skip=3)
            wider = slice(hull.start - 2, hull.stop + 1)
            _same(self._facts(moment, wider), expected, rows, "a wider window, as beside rows with other blocks")

    @at_temperatures
    def test_same_call_gives_the_same(self, temperature: float) -> None:
        moment = make_moment(temperature=temperature)
        with no_global_randomness():
            first = self._facts(moment)
        again = self._facts(moment)
        for name, value in first.items():
            _agree(again[name], value, f"two equal calls differ in {name}", tolerance=0)

    @at_temperatures
    def test_inputs_are_not_written_to(self, temperature: float) -> None:
        stage = self.make()
        before = copy.deepcopy(_state(stage))
        inputs = self.inputs(moment := make_moment(temperature=temperature), moment.hull)
        with torch.no_grad(), unmutated(*inputs):
            stage(*inputs)
        assert _state(stage) == before, "state across steps lives in step.memory, never on the stage"

    @at_temperatures
    def test_never_waits_for_the_device(self, temperature: float) -> None:
        moment = make_moment(temperature=temperature, top_p=0.9)
        with torch.no_grad():
            inputs = self.inputs(moment, moment.hull)
        call_without_host(self.make(), *inputs)

    def test_decodes_to_the_end(self) -> None:
        backbone = ToyBackbone(dtype=torch.float64)
        for length in (1, 5, 8):
            for block in (None, 1, 3, 16):
                for steps in (None, 1, 3, 20):
                    plan = Plan(length=length, block=block, steps=steps)
                    canvas, filled = self._decode(backbone, PROMPTS, plan, Draw())
                    assert not filled.masked.any(), f"masks survive with {plan}"
                    given = filled.tokens[~canvas.editable]
                    assert torch.equal(given, canvas.tokens[~canvas.editable]), f"given tokens changed with {plan}"
                    written = filled.tokens[canvas.masked]
                    for token in (backbone.mask_id, *backbone.forbidden):
                        assert not (written == token).any(), f"token {token} was chosen, which is forbidden"

    @at_temperatures
    def test_a_prompt_decodes_alone_as_in_a_batch(self, temperature: float) -> None:
        backbone = ToyBackbone(dtype=torch.float64)
        plan, draw = Plan(length=7, block=4, tokens_per_step=2), Draw(temperature=temperature)
        canvas, together = self._decode(backbone, PROMPTS, plan, draw)
        for row, prompt in enumerate(PROMPTS):
            alone, filled = self._decode(backbone, [prompt], plan, draw, first_seed=row)
            expected = together.tokens[row][canvas.valid[row]].tolist()
            assert filled.tokens[0][alone.valid[0]].tolist() == expected, (
                f"prompt {prompt!r} alone differs from the batch"
            )

    def _decode(
        self, backbone: ToyBackbone, prompts: Any, plan: Plan, draw: Draw, first_seed: int = 0
    ) -> tuple[Any, Any]:
        rows = [Prompt(text=text, seed=first_seed + i, index=i) for i, text in enumerate(prompts)]
        canvas, conditioning = backbone.encode(rows, plan)
        patience = Patience(20 * canvas.tokens.shape[1])
        filled, _ = fill_canvas(self.sampler(self.make(), plan, draw), backbone, canvas, conditioning, [patience])
        return canvas, filled


def _state(stage: Any) -> dict[str, Any]:
    return vars(stage) if hasattr(stage, "__dict__") else dataclasses.asdict(stage)


def _same(got: dict[str, Tensor], expected: dict[str, Tensor], rows: list[int], what: str, skip: int = 0) -> None:
    """Compare facts of some rows; `skip` drops columns of padding from facts that have columns."""
    for name, value in got.items():
        wanted = expected[name][rows]
        value = value[..., skip:] if value.shape != wanted.shape else value
        _agree(value, wanted, f"{what}: {name} differs")


def _agree(got: Tensor, wanted: Tensor, what: str, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(
        got, wanted, rtol=tolerance, atol=tolerance, equal_nan=True, msg=lambda m: f"{what}. {m}"
    )
