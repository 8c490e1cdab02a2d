"""The contract of an observer: it gets every row and step, and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch

from mdmkit.decoding.run import Decoded, decode
from mdmkit.errors import MdmkitError, RowError
from mdmkit.loop.observe import Observer
from mdmkit.loop.sampler import Sampler
from mdmkit.settings.draw import Draw
from mdmkit.settings.plan import Plan
from mdmkit.stage.protocols import Commit
from mdmkit.stage.search import Search
from mdmkit.stage.write import Write
from mdmkit.testing.contract import Contract
from mdmkit.testing.laws import no_global_randomness, unmutated
from mdmkit.testing.reference import ByConfidence, LeastEntropyLeft, Spread, TakeQuota
from mdmkit.testing.toy import ToyBackbone

# Rows of many lengths, two with nothing to fill, an infill; more prompts than one unit holds.
PROMPTS: list[Any] = [
    *({"prompt": "abcdefg"[: 1 + i % 7], "length": (5 * i) % 11, "seed": i} for i in range(12)),
    {"prompt": "a__b", "seed": 20},
]
HOOKS = {"on_start": 2, "on_admit": 3, "on_step": 3, "on_leave": 2}


@dataclass(frozen=True)
class Reopening(Commit):
    """Write, and reopen the row's first filled position once."""

    rewrites = True

    def __call__(self, step: Any, actions: Any, choice: Any) -> Any:
        canvas = Write()(step, actions, choice)
        again = step.member & step.window(canvas.editable) & (step.tick == 1)[:, None] & ~step.window(canvas.open)
        return canvas.reopened(step.spread(again & (again.long().cumsum(1) == 1)))


@dataclass(frozen=True)
class Twins(Search):
    """Two particles that never move."""

    particles: int = 2  # type: ignore[misc]

    def move(self, step: Any, actions: Any, values: Any, choice: Any, look: Any) -> Any:
        return torch.arange(step.rows, device=choice.device), choice

    def best(self, canvas: Any, trace: Any, kept: Any) -> Any:
        return trace.uncertainty.view(-1, self.particles).argmin(1)


PLAN, WARM = Plan(block=4), Draw(temperature=0.8)
SAMPLERS = {
    "greedy": Sampler(ByConfidence(), TakeQuota(), plan=PLAN),
    "lookahead": Sampler(ByConfidence(), Spread(4), LeastEntropyLeft(), plan=PLAN, draw=WARM),
    "rewriting": Sampler(ByConfidence(), Spread(3), LeastEntropyLeft(), commit=Reopening(), plan=PLAN),
    "search": Sampler(ByConfidence(), TakeQuota(), search=Twins(), plan=PLAN, draw=WARM),
}


class ObserverContract(Contract):
    """Set `component` to the observer's class, or define `make`, which returns a new observer each time."""

    component: ClassVar[Any] = None

    def make(self) -> Any:
        """Build the observer under test."""
        assert self.component is not None, f"{type(self).__name__}: set `component`, or define `make`"
        return type(self).component()

    def test_it_listens_to_something_that_is_said(self) -> None:
        observer = self.make()
        said = [name for name in dir(observer) if name.startswith("on_")]
        strange = [name for name in said if name not in HOOKS]
        assert not strange, f"nobody calls {', '.join(strange)}: the loop calls {', '.join(HOOKS)}"
        own = [name for name in said if getattr(type(observer), name, None) is not getattr(Observer, name)]
        assert own, f"it hears nothing: give it one of {', '.join(HOOKS)}"

    @pytest.mark.parametrize("name", SAMPLERS)
    def test_it_changes_nothing(self, name: str) -> None:
        plain = _decoded(SAMPLERS[name])
        with no_global_randomness():
            watched = _decoded(SAMPLERS[name], self.make())
        assert _seen(watched) == _seen(plain), "rows, traces or forwards are others when it watches"

    @pytest.mark.parametrize("name", SAMPLERS)
    def test_it_writes_into_nothing_that_it_is_shown(self, name: str) -> None:
        heard = Heard(self.make())
        _decoded(SAMPLERS[name], heard)
        assert heard.left, "the decode was heard"

    @pytest.mark.parametrize("name", SAMPLERS)
    def test_it_is_told_of_every_row_once(self, name: str) -> None:
        """An observer may rely on this: a row is admitted, takes steps, then leaves; no other row has its id."""
        heard = Heard(self.make())
        rows = _decoded(SAMPLERS[name], heard).rows
        assert sorted(heard.prompts.values()) == list(range(len(PROMPTS))), "every prompt is admitted once"
        assert sorted(heard.left) == sorted(heard.prompts), "every row leaves once"
        steps = {} if name == "search" else {row.index: len(row.trace["choices"]) for row in rows}
        told = {heard.prompts[id_]: count for id_, count in heard.steps.items()}
        assert told == {index: count for index, count in steps.items() if count}, "every step of a row is told of"

    def test_it_outlives_a_decode(self) -> None:
        observer = self.make()
        for name in ("greedy", "lookahead"):
            assert _seen(_decoded(SAMPLERS[name], observer)) == _seen(_decoded(SAMPLERS[name]))

    def test_a_row_that_fails_does_not_disturb_it(self) -> None:
        class Fails(ByConfidence):
            def __call__(self, step: Any) -> Any:
                # In the row that begins with two letters.
                return step.confidence.masked_fill((step.canvas.lengths == 2)[:, None], torch.nan)

        with pytest.raises(RowError, match="Fails gave scores that are not numbers"):
            _decoded(Sampler(Fails(), TakeQuota(), plan=PLAN), self.make(), [*PROMPTS, {"prompt": "b", "length": 1}])


@dataclass
class Heard:
    """Pass every call on to the observer, and record it."""

    observer: Any
    prompts: dict[int, int] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)

    def on_start(self, sampler: Any, backbone: Any) -> None:
        self._pass("on_start", sampler, backbone)

    def on_admit(self, id: int, prompt: Any, canvas: Any) -> None:
        assert id not in self.prompts, f"id {id} was given twice"
        assert len(canvas.tokens) == 1, "the canvas of a row is [1, T]"
        self.prompts[id] = prompt.index
        self._pass("on_admit", id, prompt, canvas)

    def on_step(self, step: Any, actions: Any, choice: Any) -> None:
        assert len(step.ids) == step.rows, "one id for each row of the step"
        for id_, active in zip(step.ids, step.active.tolist(), strict=True):
            assert id_ in self.prompts and id_ not in self.left, f"row {id_} is not at work"
            self.steps[id_] = self.steps.get(id_, 0) + active
        self._pass("on_step", step, actions, choice)

    def on_leave(self, id: int, row: Any) -> None:
        assert id in self.prompts, f"row {id} was never admitted"
        assert row.index == self.prompts[id], "the row is that of the prompt that was admitted"
        self.left.append(id)
        self._pass("on_leave", id, row)

    def _pass(self, name: str, *told: Any) -> None:
        if hasattr(self.observer, name):
            with unmutated(*told):
                getattr(self.observer, name)(*told)


def _decoded(sampler: Sampler, observer: Any = None, prompts: list[Any] = PROMPTS) -> Decoded:
    backbone = ToyBackbone(dtype=torch.float64)
    try:
        return decode(sampler, backbone, prompts, seed=1, batch=2, observers=() if observer is None else [observer])
    except MdmkitError as error:
        if isinstance(error.__cause__, AssertionError):  # a law that `Heard` found broken
            raise error.__cause__ from None
        raise


def _seen(decoded: Decoded) -> Any:
    return [(row.json(), repr(row.trace)) for row in decoded.rows], decoded.calls
