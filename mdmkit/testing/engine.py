"""The contract of an engine: it decodes each unit once, and the rows are the same as in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mdmkit.canvas.row import Row
from mdmkit.config.compose import compose
from mdmkit.decoding.encodings import Encodings
from mdmkit.decoding.engine import is_remote, named
from mdmkit.decoding.prompts import each_prompt, read_prompts
from mdmkit.decoding.run import decode, decode_batches
from mdmkit.decoding.units import units
from mdmkit.decoding.work import Work
from mdmkit.errors import MdmkitError, RowError
from mdmkit.installed import registry
from mdmkit.loop.observe import Observer, Watchers
from mdmkit.model.loading import load
from mdmkit.testing.contract import Contract

BATCH = 2
# Three units of at most eight rows. Only the last row has two positions: a letter and a mask.
PROMPTS: list[Any] = [{"prompt": "abcdefg"[: 2 + i % 5], "length": 1 + 5 * i % 6, "seed": i} for i in range(19)]
PROMPTS.append({"prompt": "a", "length": 1})
SHORT = len(PROMPTS) - 1
# How many prompts may be read when the first of endless units has ended: enough for many workers.
AHEAD = 256
# How often a row may end its worker. Without a bound, an engine that tries again for ever would never end the test.
DEATHS = 12
# How long the processes and threads of a closed engine may take to end.
SECONDS = 30.0

# The parts that the laws decode with, as a file: other processes find them as they find any plugin file.
PARTS = '''
import os
from dataclasses import dataclass

import torch

from mdmkit import Component, hookimpl
from mdmkit.testing import ByConfidence, TakeQuota, ToyBackbone


@dataclass(frozen=True)
class Fails(ByConfidence):
    """Give NaN for rows of two positions."""

    def __call__(self, step):
        return step.confidence.masked_fill((step.canvas.lengths == 2)[:, None], torch.nan)


@dataclass(frozen=True)
class Kills(ByConfidence):
    """End the process that decodes a row of two positions, at most `deaths` times, and never process `spared`."""

    log: str = ""
    spared: int = 0
    deaths: int = 0

    def __call__(self, step):
        if os.getpid() != self.spared and bool((step.canvas.lengths == 2).any()):
            with open(self.log, "a") as log:
                log.write("x")
            if os.path.getsize(self.log) <= self.deaths:
                os._exit(9)
        return step.confidence


class Small(ToyBackbone):
    """Is out of memory with more than one row."""

    def forward(self, tokens, *rest, **options):
        if len(tokens) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(tokens, *rest, **options)


@hookimpl
def mdmkit_score():
    return [Component("law_plain", ByConfidence), Component("law_fails", Fails), Component("law_kills", Kills)]


@hookimpl
def mdmkit_select():
    return [Component("law_quota", TakeQuota)]


@hookimpl
def mdmkit_backbone():
    return [Component("law_toy", ToyBackbone), Component("law_small", Small)]
'''


class EngineContract(Contract):
    """Set `component` to the engine's class, or define `make`."""

    component: ClassVar[Any] = None

    def make(self) -> Any:
        """Make the engine under test."""
        assert self.component is not None, f"{type(self).__name__}: set `component`, or define `make`"
        return type(self).component()

    @pytest.fixture(autouse=True)
    def _parts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Register the parts that the laws decode with."""
        monkeypatch.setattr(registry, "_default", registry.Registry())
        add_parts(tmp_path)

    def test_it_is_a_frozen_dataclass_with_a_flag(self) -> None:
        engine = self.make()
        assert dataclasses.is_dataclass(engine), "an engine is a dataclass: its fields are its options"
        assert getattr(engine, "__dataclass_params__").frozen, "it is frozen: @dataclass(frozen=True)"  # noqa: B009
        assert isinstance(getattr(engine, "remote", False), bool), "`remote` is True or False"

    @pytest.mark.parametrize("temperature", [0.0, 0.8])
    def test_rows_are_the_same_as_in_this_process(self, temperature: float) -> None:
        sampler, backbone = _sampler(temperature=temperature), load("law_toy:toy:0")
        here = decode(sampler, backbone, PROMPTS, batch=BATCH)
        there = decode(sampler, backbone, PROMPTS, batch=BATCH, engine=self.make())
        assert there.rows == here.rows, "the rows, with their traces and costs, are those of engine 'here'"
        assert there.calls == here.calls, "an outcome counts the model calls of its unit"

    def test_every_unit_is_yielded_once(self) -> None:
        work = _work(read_prompts(PROMPTS, 0))
        numbers = [outcome.number for outcome in self.make()(work)]
        assert not list(work), "it takes all units"
        assert sorted(numbers) == [0, 1, 2], "it yields each unit that it takes once"

    def test_a_row_that_fails_leaves_the_others(self) -> None:
        sampler, backbone, got = _sampler("law_fails"), load("law_toy:toy:0"), list[Row]()
        prompts = read_prompts(PROMPTS, 0)
        unit = next(unit for unit in _grouped(sampler, backbone, prompts) if SHORT in {p.index for p in unit})
        with pytest.raises(RowError, match="gave scores that are not numbers") as caught:
            _collect(decode_batches(sampler, backbone, prompts, batch=BATCH, engine=self.make()), got)
        assert (caught.value.prompt, caught.value.tick) == (SHORT, 0), "the error names the prompt and the step"
        others = {prompt.index for prompt in unit} - {SHORT}
        assert others <= {row.index for row in got}, "the other rows of the unit come before the error"

    def test_units_are_taken_when_they_can_be_worked_on(self) -> None:
        work, read = _endless()
        with _closed(self.make()(work)) as outcomes:
            next(outcomes)
            assert len(read) <= AHEAD, "it does not take units long before it can work on them"

    def test_it_stops_when_it_is_closed(self) -> None:
        children, threads = set(multiprocessing.active_children()), set(threading.enumerate())
        work, read = _endless()
        with _closed(self.make()(work)) as outcomes:
            next(outcomes)
        before = len(read)
        time.sleep(0.3)
        assert len(read) == before, "it takes no unit after it was closed"
        assert _soon(lambda: not set(multiprocessing.active_children()) - children), "its processes have ended"
        assert _soon(lambda: not set(threading.enumerate()) - threads), "its threads have ended"

    def test_an_outcome_says_that_memory_was_too_small(self) -> None:
        sampler, slots, said = _sampler(), dict[int, int](), list[str]()
        prompts, got = read_prompts(PROMPTS[:6], 0), list[Row]()
        small, engine = load("law_small:toy:0"), self.make()
        decoded = decode_batches(sampler, small, prompts, batch=BATCH, engine=engine, slots=slots, tell=said.append)
        _collect(decoded, got)
        assert slots == {0: 1}, "an outcome has half the unit's slots if memory was too small for all"
        assert len(said) == 1, "the user is told once"
        plain = decode(sampler, load("law_toy:toy:0"), PROMPTS[:6], batch=BATCH).rows
        assert {row.index: row.tokens for row in got} == {row.index: row.tokens for row in plain}

    def test_observers_see_every_step_or_are_refused(self) -> None:
        engine, heard = self.make(), _Heard()
        sampler, backbone = _sampler(), load("law_toy:toy:0")
        if is_remote(engine):
            with pytest.raises(MdmkitError, match="observers of this process see no steps"):
                decode(sampler, backbone, PROMPTS, batch=BATCH, engine=engine, observers=[heard])
            return
        rows = decode(sampler, backbone, PROMPTS, batch=BATCH, engine=engine, observers=[heard]).rows
        steps = {row.index: len(row.trace["choices"]) for row in rows}
        assert heard.steps == steps, "observers see every step; otherwise `remote` is True"

    def test_a_row_that_kills_its_worker_is_an_error(self, tmp_path: Path) -> None:
        engine, log = self.make(), tmp_path / "deaths"
        if not is_remote(engine):
            pytest.skip("the engine decodes in this process, which the row would end")
        sampler = _sampler({"name": "law_kills", "log": str(log), "spared": os.getpid(), "deaths": DEATHS})
        with pytest.raises(MdmkitError) as caught:
            decode(sampler, load("law_toy:toy:0"), PROMPTS, batch=BATCH, engine=engine)
        assert log.exists(), "a worker decodes the row"
        assert len(log.read_text()) <= DEATHS, "it tries such a row a bounded number of times"
        assert named(engine) in str(caught.value), "the error names the engine and its plugin"


def add_parts(folder: Path) -> None:
    """Register the parts that the laws decode with, from a plugin file in this folder."""
    file = folder / "law_parts.py"
    file.write_text(PARTS, encoding="utf-8")
    registry.default().add_file(file)


class _Heard(Observer):
    """Counts the steps of each prompt."""

    def __init__(self) -> None:
        self.steps: dict[int, int] = {}
        self._index: dict[int, int] = {}

    def on_admit(self, id: int, prompt: Any, canvas: Any) -> None:
        self._index[id] = prompt.index
        self.steps[prompt.index] = 0

    def on_step(self, step: Any, actions: Any, choice: Any) -> None:
        for id_ in step.ids:
            self.steps[self._index[id_]] += 1


@contextlib.contextmanager
def _closed(running: Iterable[Any]) -> Iterator[Iterator[Any]]:
    """Close an iterator at the end, if it can be closed."""
    running = iter(running)
    try:
        yield running
    finally:
        getattr(running, "close", lambda: None)()


def _sampler(score: Any = "law_plain", temperature: float = 0.0) -> Any:
    return compose(score=score, select="law_quota", plan={"block": 4}, draw={"temperature": temperature})


def _grouped(sampler: Any, backbone: Any, prompts: Iterable[Any], batch: int = BATCH) -> Iterator[list[Any]]:
    known = Encodings(backbone, sampler.plan)
    return units(prompts, batch, lambda prompt: known.size(prompt).length)


def _work(prompts: Iterable[Any], batch: int = BATCH) -> Work:
    sampler, backbone = _sampler(), load("law_toy:toy:0")
    grouped = _grouped(sampler, backbone, prompts, batch)
    return Work(sampler, grouped, Encodings(backbone, sampler.plan), batch, Watchers(()), lambda said: None)


def _endless() -> tuple[Work, list[int]]:
    """Units of four rows, too many to decode them all; and a list that grows with each prompt that is read."""
    read: list[int] = []

    def texts() -> Iterator[str]:
        for i in range(50_000):
            read.append(i)
            yield "ab"

    return _work(each_prompt(texts(), 0), batch=1), read


def _collect(decoded: Iterable[tuple[list[Row], int]], into: list[Row]) -> None:
    for rows, _ in decoded:
        into += rows


def _soon(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + SECONDS
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)
    return holds()
