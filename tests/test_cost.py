"""The clocks behind `mdmkit bench`: the first final token, the parts of a step, and a model that is left as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Write, read_prompts
from mdmkit.model.timing import Clock, Timed
from mdmkit.testing import ToyBackbone
from mdmkit.testing.reference import ByConfidence, TakeQuota
from mdmkit.watch.cost import Cost, measure, median
from mdmkit.watch.first_text import FirstText


class Counting(Clock):
    """A clock that goes on by one at every look."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.time = 0

    def now(self) -> int:
        self.time += 1
        return self.time


@dataclass(frozen=True)
class Leftmost:
    """Fill from the left, or from the right."""

    right: bool = False

    def __call__(self, step: Any) -> Any:
        places = torch.arange(step.open.shape[1], dtype=torch.float32)
        return (places if self.right else -places).expand(step.open.shape)


@dataclass(frozen=True)
class Rewriting(Write):
    """Says that it may rewrite what it has written."""

    rewrites: ClassVar[bool] = True


def first_texts(score: Any, prompts: list[Any], **parts: Any) -> list[float]:
    clock = Counting()
    first = FirstText(clock)
    sampler = mdmkit.compose(score=score, select=TakeQuota(), **parts)
    mdmkit.decode(sampler, ToyBackbone(), prompts, observers=[first])
    return first.seconds(0)


def test_the_first_text_is_there_when_the_leftmost_mask_is_filled() -> None:
    prompt = {"prompt": "ab", "length": 6}
    assert first_texts(Leftmost(), [prompt]) == [1]
    assert first_texts(Leftmost(right=True), [prompt]) == [6]
    assert first_texts(Leftmost(right=True), [prompt], plan={"block": 2}) == [2], "blocks are filled left to right"
    assert first_texts(Leftmost(right=True), ["a_b___"]) == [4], "of an infill, too"


def test_each_row_has_its_own_first_text() -> None:
    rows = [{"prompt": "ab", "length": 2}, {"prompt": "abc", "length": 5}]
    # The longer row is admitted first. The clock is also looked at when the short row leaves, after the second step.
    assert first_texts(Leftmost(right=True), rows) == [6, 2]


def test_if_the_commit_rewrites_the_first_text_is_there_when_the_block_is_left() -> None:
    found = first_texts(Leftmost(), [{"prompt": "ab", "length": 6}], commit=Rewriting(), plan={"block": 3})
    assert found == [4], "three steps fill the first block, and the fourth is of the second"


def test_a_cost_is_of_all_rows_together() -> None:
    sampler = mdmkit.compose(score=ByConfidence(), select=TakeQuota(), plan={"tokens_per_step": 2})
    prompts = read_prompts([{"prompt": "ab", "length": 6}, {"prompt": "a", "length": 4}], 0)
    cost = measure(sampler, ToyBackbone(), prompts)
    assert (cost.tokens, cost.steps, cost.rows) == (10, 3, 5)
    assert cost.calls == 3 and cost.dtype == "float32"
    assert cost.trunk + cost.head + cost.rest == pytest.approx(cost.seconds) and cost.rest > 0


def test_the_median_is_one_of_the_decodes() -> None:
    costs = [Cost(1, seconds, 0, 1, 0, 0, 1, 1, "") for seconds in (5.0, 1.0, 4.0, 2.0)]
    assert median(costs).seconds == 2 and median(costs[:3]).seconds == 4 and median(costs[:1]).seconds == 5


def test_a_model_is_left_as_it_was_also_after_an_error() -> None:
    backbone = ToyBackbone()
    mine = backbone.project
    backbone.project = mine  # type: ignore[method-assign]
    timed = Timed(backbone, Clock(backbone.device))

    def fail() -> None:
        with timed:
            assert "forward" in vars(backbone) and backbone.project is not mine
            backbone.project(torch.zeros(1, 1, 16))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "forward" not in vars(backbone) and backbone.project is mine
    assert timed.seconds("project") > 0 and timed.seconds("forward") == 0 and timed.dtype == ""


def test_a_row_that_cannot_be_decoded_is_the_error() -> None:
    class Odd(ToyBackbone):
        def project(self, hidden: Any) -> Any:
            return super().project(hidden) * torch.nan

    sampler = mdmkit.compose(score=ByConfidence(), select=TakeQuota())
    with pytest.raises(MdmkitError, match="not numbers"):
        measure(sampler, Odd(), read_prompts(["ab"], 0))


def test_on_cuda_moments_are_events_and_nobody_waits_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Event:
        made = 0

        def __init__(self, enable_timing: bool):
            assert enable_timing
            Event.made += 1
            self.at = 250.0 * Event.made

        def record(self, stream: str) -> None:
            said.append(f"record in {stream}")

        def elapsed_time(self, other: Event) -> float:
            return other.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: said.append(f"wait for {device}"))
    clock = Clock(torch.device("cuda:1"))
    backbone = ToyBackbone()
    with Timed(backbone, clock) as timed:
        for _ in range(2):
            backbone.project(torch.zeros(1, 1, 16))
    assert said == ["record in the stream of cuda:1"] * 4
    clock.wait()
    assert said[4:] == ["wait for cuda:1"]
    assert timed.seconds("project") == 0.5, "milliseconds become seconds"
