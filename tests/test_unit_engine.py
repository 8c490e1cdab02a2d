"""Engines that decode units: the rows do not depend on them, and an engine that breaks a promise is named."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import pickle
import queue
import re
import runpy
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner
from rich.console import Console
from warm import FORKED

import mdmkit
from mdmkit import Outcome, Recipe, Unit, UnitEngine, decode_unit
from mdmkit.cli import main
from mdmkit.cli.live import Meter
from mdmkit.decoding import recipe as recipe_module
from mdmkit.decoding.engine import Here, as_engine
from mdmkit.decoding.prompts import read_prompts
from mdmkit.decoding.recipe import recipe_of
from mdmkit.decoding.run import decode_batches
from mdmkit.errors import MdmkitError, RowError
from mdmkit.installed import registry
from mdmkit.installed.registry import NotInstalled
from mdmkit.testing import ByConfidence, EngineContract, TakeQuota, ToyBackbone
from mdmkit.testing.engine import PROMPTS, SHORT, add_parts

FILE = Path(__file__).resolve().parents[1] / "examples" / "hooks" / "engine.py"
Processes: Any = runpy.run_path(str(FILE))["Processes"]


class TestHere(EngineContract):
    component = Here


class TestProcesses(EngineContract):
    """The example, whose processes here need not import torch; `test_two_processes…` below starts them as it does."""

    component = Processes

    @pytest.fixture(autouse=True)
    def _soon_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(Processes.__call__.__globals__, "get_context", lambda method: FORKED)


@dataclass(frozen=True)
class TwoThreads(UnitEngine):
    """One thread decodes, another one asks for the outcomes."""

    def __call__(self, work):
        ended: queue.Queue = queue.Queue(maxsize=1)
        stop = threading.Event()

        def run():
            for unit in work:
                if stop.is_set():
                    break
                ended.put(work.decode(unit))
            ended.put(None)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            while (outcome := ended.get()) is not None:
                yield outcome
        finally:
            stop.set()
            while thread.is_alive():
                with contextlib.suppress(queue.Empty):
                    ended.get(timeout=0.01)


class TestTwoThreads(EngineContract):
    """An engine of this process need not be a loop."""

    component = TwoThreads


# -- a broken engine for each law -----------------------------------------------------------------------------------


@dataclass
class Thaws(UnitEngine):
    """Is not frozen."""

    def __call__(self, work):
        yield from map(work.decode, work)


@dataclass(frozen=True)
class Renames(Here):
    """Puts another text into every row."""

    def __call__(self, work):
        for outcome in super().__call__(work):
            yield dataclasses.replace(outcome, rows=[dataclasses.replace(row, text="?") for row in outcome.rows])


@dataclass(frozen=True)
class Free(Here):
    """Does not count the calls."""

    def __call__(self, work):
        for outcome in super().__call__(work):
            yield dataclasses.replace(outcome, calls=0)


@dataclass(frozen=True)
class Twice(Here):
    def __call__(self, work):
        for outcome in super().__call__(work):
            yield outcome
            yield outcome


@dataclass(frozen=True)
class Loses(Here):
    def __call__(self, work):
        yield from itertools.islice(super().__call__(work), 1, None)


@dataclass(frozen=True)
class EndsEarly(Here):
    def __call__(self, work):
        yield from itertools.islice(super().__call__(work), 1)


@dataclass(frozen=True)
class Fatal(Here):
    """Ends with the first row that fails."""

    def __call__(self, work):
        for outcome in super().__call__(work):
            if outcome.errors:
                raise outcome.errors[0]
            yield outcome


@dataclass(frozen=True)
class Forgives(Here):
    """Leaves out the rows that failed."""

    def __call__(self, work):
        for outcome in super().__call__(work):
            yield dataclasses.replace(outcome, errors=[])


@dataclass(frozen=True)
class Eager(Here):
    """Takes all units at once."""

    def __call__(self, work):
        yield from map(work.decode, list(itertools.islice(work, 500)))


@dataclass(frozen=True)
class GoesOn(UnitEngine):
    """Has a thread that nobody stops."""

    def __call__(self, work):
        ended: queue.Queue = queue.Queue()

        def run():
            for unit in itertools.islice(work, 60):
                ended.put(work.decode(unit))
                time.sleep(0.05)

        threading.Thread(target=run, daemon=True).start()
        while True:
            yield ended.get()


@dataclass(frozen=True)
class Idles(UnitEngine):
    """Leaves a process behind."""

    kept: ClassVar[list] = []

    def __call__(self, work):
        pool = ProcessPoolExecutor(1, FORKED)
        self.kept.append(pool)
        pool.submit(time.sleep, 0).result()
        for unit in work:
            yield work.decode(unit)


@dataclass(frozen=True)
class Quiet(Here):
    """Does not say that memory was too small."""

    def __call__(self, work):
        for unit in work:
            yield dataclasses.replace(decode_unit(work.recipe, unit), slots=unit.slots)


@dataclass(frozen=True)
class HidesSteps(UnitEngine):
    """Decodes where no observer sees it, and is not `remote`."""

    def __call__(self, work):
        for unit in work:
            yield decode_unit(work.recipe, unit)


@dataclass(frozen=True)
class Hushes(UnitEngine):
    """Decodes in this process what killed a worker."""

    remote: ClassVar[bool] = True

    def __call__(self, work):
        for unit in work:
            if SHORT not in {prompt.index for prompt in unit.prompts}:
                yield work.decode(unit)  # only to save time
                continue
            with ProcessPoolExecutor(1, FORKED) as pool:
                try:
                    outcome = pool.submit(decode_unit, work.recipe, unit).result()
                except BrokenProcessPool:
                    outcome = self.of_broken(work, unit)
            yield outcome

    def of_broken(self, work, unit):
        return work.decode(unit)


@dataclass(frozen=True)
class Anonymous(Hushes):
    """Does not say whose worker was killed."""

    def of_broken(self, work, unit):
        raise MdmkitError("something went wrong.")


@dataclass(frozen=True)
class Stubborn(Hushes):
    """Tries again for ever."""

    def of_broken(self, work, unit):
        while True:
            with ProcessPoolExecutor(1, FORKED) as pool, contextlib.suppress(BrokenProcessPool):
                return pool.submit(decode_unit, work.recipe, unit).result()


BROKEN = [
    (Thaws, "test_it_is_a_frozen_dataclass_with_a_flag"),
    (Renames, "test_rows_are_the_same_as_in_this_process"),
    (Free, "test_rows_are_the_same_as_in_this_process"),
    (Twice, "test_every_unit_is_yielded_once"),
    (Loses, "test_every_unit_is_yielded_once"),
    (EndsEarly, "test_every_unit_is_yielded_once"),
    (Fatal, "test_a_row_that_fails_leaves_the_others"),
    (Forgives, "test_a_row_that_fails_leaves_the_others"),
    (Eager, "test_units_are_taken_when_they_can_be_worked_on"),
    (GoesOn, "test_it_stops_when_it_is_closed"),
    (Idles, "test_it_stops_when_it_is_closed"),
    (Quiet, "test_an_outcome_says_that_memory_was_too_small"),
    (HidesSteps, "test_observers_see_every_step_or_are_refused"),
    (Hushes, "test_a_row_that_kills_its_worker_is_an_error"),
    (Anonymous, "test_a_row_that_kills_its_worker_is_an_error"),
    (Stubborn, "test_a_row_that_kills_its_worker_is_an_error"),
]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Register the parts of the laws, in a registry of their own; nothing is made yet by `decode_unit`."""
    monkeypatch.setattr(registry, "_default", registry.Registry())
    monkeypatch.setattr(recipe_module, "_model", {})
    add_parts(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("engine", "law"), BROKEN, ids=[engine.__name__ for engine, _ in BROKEN])
def test_an_engine_that_breaks_a_law_fails_the_test_of_that_law(
    engine: type, law: str, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdmkit.testing.engine.SECONDS", 1.0)
    monkeypatch.setattr("mdmkit.testing.engine.DEATHS", 2)
    test = getattr(type("Suite", (EngineContract,), {"component": engine})(), law)
    given = {"test_rows_are_the_same_as_in_this_process": {"temperature": 0.0}}
    given["test_a_row_that_kills_its_worker_is_an_error"] = {"tmp_path": parts}
    with pytest.raises((AssertionError, pytest.fail.Exception, MdmkitError)):
        test(**given.get(law, {}))
    while engine is Idles and Idles.kept:
        Idles.kept.pop().shutdown()


# -- errors name the engine ------------------------------------------------------------------------------------------


def decoded(engine: Any, **options: Any) -> list[Any]:
    sampler, backbone = mdmkit.compose(score="law_plain", select="law_quota"), mdmkit.load("law_toy:toy:0")
    return mdmkit.decode(sampler, backbone, PROMPTS, batch=2, engine=engine, **options).rows


@dataclass(frozen=True)
class Wrong(UnitEngine):
    """Changes the outcomes by a function."""

    how: Any

    def __call__(self, work):
        return self.how(work, map(work.decode, work))


def changed(outcomes: Iterable[Outcome], rows: Any) -> Any:
    return (dataclasses.replace(each, rows=rows(each.rows)) for each in outcomes)


def fails(work: Any, outcomes: Any) -> Any:
    yield next(outcomes)
    next(iter(work))
    raise ConnectionError("the other machine is gone")


WRONG = {
    "lost": (
        lambda work, outcomes: itertools.islice(outcomes, 1),
        r"has lost prompts 2, 3, 4, 7, 8, 9, 13, 14: it must yield each unit once\.",
    ),
    "taken and lost": (lambda work, outcomes: iter(list(outcomes)[1:]), "has lost prompts"),
    "twice": (lambda work, outcomes: (x for x in outcomes for _ in "ab"), "yielded unit 0 twice"),
    "strange": (lambda *_: iter([Outcome(7, [], [], 0, 2)]), r"yielded unit 7, and no such unit was handed out"),
    "no outcome": (lambda *_: iter(["rows"]), "yielded 'rows': it must yield the outcomes of decoding units"),
    "fewer rows": (
        lambda work, outcomes: changed(outcomes, lambda rows: rows[1:]),
        "yielded 7 rows and 0 errors for prompts .* one row or one error",
    ),
    "a row twice": (
        lambda work, outcomes: changed(outcomes, lambda rows: [*rows, rows[0]]),
        "yielded 9 rows and 0 errors",
    ),
    "another prompt's row": (
        lambda work, outcomes: changed(outcomes, lambda rows: [*rows[1:], dataclasses.replace(rows[0], index=99)]),
        "yielded 8 rows and 0 errors",
    ),
    "none": (
        lambda work, outcomes: itertools.chain([None], outcomes),
        r"yielded None: it must yield the outcomes of decoding units\.$",
    ),
    "none for a unit": (
        lambda work, outcomes: (None for _ in work),
        r"yielded None: it must yield the outcomes of decoding units\. No rows came of prompts ",
    ),
    "no iterator": (lambda *_: None, "failed: TypeError: 'NoneType' object is not iterable"),
    "an exception": (fails, "failed: ConnectionError: the other machine is gone. No rows came of prompts "),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_engine_that_breaks_its_promise_is_named(name: str, parts: Path) -> None:
    how, words = WRONG[name]
    with pytest.raises(MdmkitError, match=rf"engine 'Wrong' of python:tests\.test_unit_engine unknown {words}"):
        decoded(Wrong(how))


FIELDS = [
    ("rows", None, r"rows=None: it must be a list of Row\."),
    ("rows", "rows", r"rows='rows': it must be a list of Row\."),
    ("rows", iter(()), r"rows=<tuple_.*>: it must be a list of Row\."),
    ("rows", [1, 2], r"rows\[0\]=1: it must be a list of Row\."),
    ("errors", None, r"errors=None: it must be a list of MdmkitError\."),
    ("errors", ["x"], r"errors\[0\]='x': it must be a list of MdmkitError\."),
    ("errors", [ValueError()], r"errors\[0\]=ValueError\(\): it must be a list of MdmkitError\."),
    ("calls", None, r"calls=None: it must be a whole number from 0\."),
    ("calls", -1, r"calls=-1: it must be a whole number from 0\."),
    ("calls", 1.5, r"calls=1\.5: it must be a whole number from 0\."),
    ("slots", None, r"slots=None: it must be a whole number from 1 to the unit's, 2\."),
    ("slots", "1", r"slots='1': it must be a whole number from 1 to the unit's, 2\."),
    ("slots", 0, r"slots=0: it must be a whole number from 1 to the unit's, 2\."),
    ("slots", 3, r"slots=3: it must be a whole number from 1 to the unit's, 2\."),
    ("slots", True, r"slots=True: it must be a whole number from 1 to the unit's, 2\."),
]
OF_UNIT = r"engine 'Wrong' of python:tests\.test_unit_engine unknown yielded an outcome of prompts [\d, ]+ with "


@pytest.mark.parametrize(("field", "value", "words"), FIELDS, ids=[f"{i}-{each[0]}" for i, each in enumerate(FIELDS)])
def test_a_wrong_field_of_an_outcome_is_named_with_its_prompts(field: str, value: Any, words: str, parts: Path) -> None:
    engine = Wrong(lambda work, outcomes: (dataclasses.replace(each, **{field: value}) for each in outcomes))
    with pytest.raises(MdmkitError, match=OF_UNIT + words):
        decoded(engine)


def test_a_row_without_an_index_is_named(parts: Path) -> None:
    def unnumbered(rows: Any) -> Any:
        return [*rows[:-1], dataclasses.replace(rows[-1], index=[0])]

    with pytest.raises(
        MdmkitError, match=OF_UNIT + r"rows\[7\]\.index=\[0\]: it must be the index of the row's prompt"
    ):
        decoded(Wrong(lambda work, outcomes: changed(outcomes, unnumbered)))


@pytest.mark.parametrize("number", [[0], None, "0", False])
def test_an_outcome_without_the_number_of_a_unit_names_the_prompts_that_are_missing(number: Any, parts: Path) -> None:
    engine = Wrong(lambda work, outcomes: (dataclasses.replace(each, number=number) for each in outcomes))
    said = rf"yielded an outcome with number={re.escape(repr(number))}: .* unit\. No rows came of prompts \d"
    with pytest.raises(MdmkitError, match=f"engine 'Wrong' .*{said}"):
        decoded(engine)


# -- engines are closed, and the first error is raised ---------------------------------------------------------------


class Plain:
    """An iterator that is no generator, with a `close` that counts, and fails if it has an error."""

    def __init__(self, outcomes: Iterable[Outcome], error: Exception | None = None):
        self.outcomes, self.error, self.closed = iter(outcomes), error, 0

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Outcome:
        return next(self.outcomes)

    def close(self) -> None:
        self.closed += 1
        if self.error is not None:
            raise self.error


def fails_at_the_end(work: Any, outcomes: Any) -> Any:
    try:
        yield from outcomes
    finally:
        raise OSError("no such pool")


AT_THE_END = {
    "generator": fails_at_the_end,
    "iterator": lambda work, outcomes: Plain(outcomes, OSError("no such pool")),
    "a sentence": lambda work, outcomes: Plain(outcomes, MdmkitError("OSError: no such pool.")),
}
UNCLOSED = r"^engine 'Wrong' of python:tests\.test_unit_engine unknown failed.*OSError: no such pool\."


def begun(engine: Any, score: str = "law_plain", decode: Any = mdmkit.stream) -> Any:
    sampler, backbone = mdmkit.compose(score=score, select="law_quota"), mdmkit.load("law_toy:toy:0")
    return decode(sampler, backbone, PROMPTS, batch=2, engine=engine)


def test_an_iterator_is_closed_when_the_consumer_stops_and_at_the_end(parts: Path) -> None:
    made: list[Plain] = []
    engine = Wrong(lambda work, outcomes: made.append(Plain(outcomes)) or made[-1])
    rows = begun(engine)
    next(rows)
    assert made[0].closed == 0
    rows.close()
    assert made[0].closed == 1
    begun(engine, decode=mdmkit.decode)
    assert made[1].closed == 1


@pytest.mark.parametrize("how", AT_THE_END)
def test_an_engine_that_cannot_be_closed_is_named(how: str, parts: Path) -> None:
    with pytest.raises(MdmkitError, match=UNCLOSED):
        begun(Wrong(AT_THE_END[how]), decode=mdmkit.decode)
    rows = begun(Wrong(AT_THE_END[how]))
    next(rows)
    with pytest.raises(MdmkitError, match=UNCLOSED):
        rows.close()


@pytest.mark.parametrize("how", AT_THE_END)
def test_the_error_of_a_row_is_raised_though_the_engine_cannot_be_closed(how: str, parts: Path) -> None:
    with pytest.raises(RowError, match="gave scores that are not numbers") as caught:
        begun(Wrong(AT_THE_END[how]), "law_fails", decode=mdmkit.decode)
    assert caught.value.prompt == SHORT
    assert any("no such pool" in note for note in caught.value.__notes__)


def test_the_error_of_a_unit_is_raised_though_the_engine_fails_after_it(parts: Path) -> None:
    class Breaks(ToyBackbone):
        def forward(self, *args: Any, **options: Any) -> Any:
            raise ZeroDivisionError("in the model")

    with pytest.raises(MdmkitError, match=r"^backbone 'Breaks' failed in forward: ZeroDivisionError: in the model"):
        mdmkit.decode(
            mdmkit.compose(score="law_plain", select="law_quota"), Breaks(), ["ab"], engine=Wrong(fails_at_the_end)
        )

    def refuses(work: Any, outcomes: Any) -> Any:
        try:
            yield next(outcomes)
            raise MdmkitError("memory is too small")
        finally:
            raise OSError("no such pool")

    with pytest.raises(MdmkitError, match=r"^memory is too small$"):
        decoded(Wrong(refuses))


def test_an_error_that_the_caller_handles_is_not_the_engines(parts: Path) -> None:
    try:
        raise MdmkitError("another decode")
    except MdmkitError:
        with pytest.raises(MdmkitError, match="failed: ConnectionError: the other machine is gone"):
            decoded(Wrong(fails))


def test_an_engine_that_ends_early_does_not_have_an_endless_stream_read_to_its_end(parts: Path) -> None:
    read = itertools.count()
    prompts = ("ab" for i in read if i < 100_000 or pytest.fail("read to its end"))
    sampler, backbone = mdmkit.compose(score="law_plain", select="law_quota"), mdmkit.load("law_toy:toy:0")
    with pytest.raises(MdmkitError, match="has lost prompts"):
        list(mdmkit.stream(sampler, backbone, prompts, batch=2, engine=EndsEarly()))
    assert next(read) < 100


def test_the_plugin_of_an_engine_is_named_too(parts: Path) -> None:
    file = parts / "lazy.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "from mdmkit import Component, hookimpl\n"
        "@dataclass(frozen=True)\n"
        "class Lazy:\n"
        "    def __call__(self, work):\n"
        "        return iter(())\n"
        "@hookimpl\n"
        "def mdmkit_engine():\n"
        "    return [Component('lazy', Lazy)]\n"
    )
    registry.default().add_file(file)
    with pytest.raises(MdmkitError, match=r"engine 'lazy' of file:lazy\.py \w+ has lost prompts"):
        decoded("lazy")


def test_errors_that_are_not_the_engines_are_raised_unchanged(parts: Path) -> None:
    def prompts() -> Any:
        yield "ab"
        raise KeyError("mine")

    sampler, backbone = mdmkit.compose(score="law_plain", select="law_quota"), mdmkit.load("law_toy:toy:0")
    with pytest.raises(KeyError, match="mine"):
        list(mdmkit.stream(sampler, backbone, prompts()))

    class Breaks(ToyBackbone):
        def forward(self, *args: Any, **options: Any) -> Any:
            raise ZeroDivisionError("in the model")

    with pytest.raises(MdmkitError, match=r"^backbone 'Breaks' failed in forward: ZeroDivisionError: in the model\."):
        mdmkit.decode(sampler, Breaks(), ["ab"])


@pytest.mark.parametrize("batch", [True, 0, 2.0, "2"])
def test_a_batch_that_is_no_number_of_rows_is_refused(batch: Any) -> None:
    sampler = mdmkit.compose(score=ByConfidence(), select=TakeQuota())
    for decode in (mdmkit.decode, mdmkit.stream):
        with pytest.raises(MdmkitError, match=rf"^batch={batch!r}: it is a number of rows, at least 1, or 'auto'\.$"):
            decode(sampler, ToyBackbone(), ["ab"], batch=batch)


@pytest.mark.parametrize(
    ("observers", "words"),
    [
        (
            mdmkit.Observer(),
            r"observers=<.*Observer object .*>: it must be a list of observers, as in \[MyObserver\(\)\]",
        ),
        (None, "observers=None: it must be a list of observers"),
        ("stream", "observers='stream': it must be a list of observers"),
        ([mdmkit.Observer], r"observer Observer is a class: observers must be instances, as in Observer\(\)"),
        (["stream"], "observer 'stream' has no method of an observer: on_start, on_admit, on_step, on_leave"),
    ],
)
def test_what_is_no_observer_is_refused(observers: Any, words: str) -> None:
    sampler = mdmkit.compose(score=ByConfidence(), select=TakeQuota())
    with pytest.raises(MdmkitError, match=words):
        mdmkit.decode(sampler, ToyBackbone(), ["ab"], observers=observers)


class Refuses:
    """An object whose attributes cannot be looked up, as a proxy of something that is gone."""

    def __init__(self, name: str):
        self.name = name

    def on_step(self, step: Any, actions: Any, choice: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name == self.name:
            raise ZeroDivisionError("gone")
        raise AttributeError(name)


@pytest.mark.parametrize(
    ("name", "place"),
    [("on_batch", "when its attributes were looked up"), ("reads", "when reads was looked up")],
)
def test_an_observer_whose_attributes_cannot_be_looked_up_is_named(name: str, place: str) -> None:
    sampler = mdmkit.compose(score=ByConfidence(), select=TakeQuota())
    with pytest.raises(MdmkitError, match=f"^observer Refuses failed {place}: ZeroDivisionError: gone"):
        mdmkit.decode(sampler, ToyBackbone(), ["ab"], observers=[Refuses(name)])


def test_an_engine_is_a_name_a_mapping_or_an_instance(parts: Path) -> None:
    assert as_engine("here") == as_engine({"name": "here"}) == Here()
    assert decoded(Here()) == decoded("here") == decoded({"name": "here"})
    with pytest.raises(MdmkitError, match=r"unknown engine 'heer'\. Did you mean 'here'"):
        decoded("heer")
    with pytest.raises(MdmkitError, match="unknown engine 'here' parameter 'workers'"):
        decoded({"name": "here", "workers": 2})
    with pytest.raises(MdmkitError, match=r"engine \{'workers': 2\} has no name"):
        decoded({"workers": 2})
    for wrong in (3, Here):
        with pytest.raises(MdmkitError, match="must be a name, a mapping with `name` and options, or an instance"):
            decoded(wrong)


def test_a_stream_is_decoded_by_an_engine_too(parts: Path) -> None:
    counted = []

    @dataclass(frozen=True)
    class Counts(Here):
        def __call__(self, work):
            for outcome in super().__call__(work):
                counted.append(outcome.number)
                yield outcome

    sampler, backbone = mdmkit.compose(score="law_plain", select="law_quota"), mdmkit.load("law_toy:toy:0")
    rows = list(mdmkit.stream(sampler, backbone, PROMPTS, batch=2, engine=Counts()))
    assert [row.index for row in rows] == list(range(20))
    assert sorted(counted) == [0, 1, 2]


# -- what another process needs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        RowError("score Mine gave scores that are not numbers", 3, 1),
        RowError("score Mine gave scores that are not numbers", 3, 1, prompt=17),
        NotInstalled("no such part. pip install it", "mdmkit-search"),
        mdmkit.JudgeDown("the judge is down"),
        MdmkitError("a sentence"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_pickled_error_is_the_same_error(error: MdmkitError) -> None:
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert vars(there) == vars(error)


def test_a_recipe_is_plain_values_and_makes_the_same_rows(parts: Path) -> None:
    sampler = mdmkit.compose(score="law_plain", select="law_quota", overrides=["draw.temperature=0.7", "plan.block=3"])
    backbone = mdmkit.load("law_toy:toy:3", vocab=9)
    values = json.loads(json.dumps(dataclasses.asdict(recipe_of(sampler, backbone))))
    assert values["model"] == "law_toy:toy:3" and values["options"] == {"vocab": 9} and values["dtype"] == "auto"
    assert values["plugins"] == [str(parts / "law_parts.py")]
    prompts = tuple(read_prompts(["ab", {"prompt": "c__d"}, {"prompt": "abcdef", "length": 3}], 0))
    outcome = decode_unit(Recipe(**values), Unit(5, prompts, 2))
    assert (outcome.number, outcome.slots, outcome.errors) == (5, 2, [])
    here = mdmkit.decode(sampler, backbone, prompts, batch=2)
    assert sorted(outcome.rows, key=lambda row: row.index) == here.rows
    assert outcome.calls == here.calls


def test_a_process_loads_a_model_once_and_lets_go_of_it_for_another(
    parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, loaded, unit = mdmkit.compose(score="law_plain", select="law_quota"), [], read_prompts(["ab"], 0)
    first, second = (recipe_of(sampler, mdmkit.load(f"law_toy:toy:{seed}")) for seed in (4, 5))

    def load(ref: str, *args: Any, **options: Any) -> Any:
        loaded.append((ref, len(recipe_module._model)))
        return mdmkit.load(ref, *args, **options)

    monkeypatch.setattr(recipe_module, "load", load)
    warm = mdmkit.compose(score="law_plain", select="law_quota", draw={"temperature": 0.8})
    other = recipe_of(warm, mdmkit.load("law_toy:toy:5"))  # another sampler, but the same model
    for recipe in (first, first, second, second, other, second):
        decode_unit(recipe, Unit(0, tuple(unit), 1))
    assert loaded == [("law_toy:toy:4", 0), ("law_toy:toy:5", 0)]  # none is kept while another one is loaded


CHANGES: list[dict[str, Any]] = [
    {"plan": mdmkit.Plan(block=5)},
    {"draw": mdmkit.Draw(temperature=0.5)},
    {"guidance": mdmkit.Guidance(scale=2.0)},
    {"cache": "none"},
    {"refresh_every": 2},
    {"seed": 1},
]


def test_what_another_process_cannot_make_is_refused(parts: Path) -> None:
    composed = mdmkit.compose(score="law_plain", select="law_quota")
    backbone = mdmkit.load("law_toy:toy:0")
    with pytest.raises(MdmkitError, match=r"this ToyBackbone has none\. Load it with mdmkit\.load"):
        recipe_of(composed, ToyBackbone())
    with pytest.raises(MdmkitError, match="no plugin has score ByConfidence, select TakeQuota, commit Write"):
        recipe_of(mdmkit.Sampler(ByConfidence(), TakeQuota()), backbone)

    @dataclass(frozen=True)
    class Mine(ByConfidence):
        pass

    with pytest.raises(MdmkitError, match=r"no plugin has score Mine\. Register it, or decode in this process"):
        recipe_of(mdmkit.compose(score=Mine(), select="law_quota"), backbone)
    approximate = mdmkit.compose(score="law_plain", select="law_quota", cache="prefix")
    assert recipe_of(approximate, backbone)
    for change in CHANGES:
        with pytest.raises(MdmkitError, match="this sampler was changed after it was composed"):
            recipe_of(dataclasses.replace(approximate, **change), backbone)

    class Options(ToyBackbone):
        source = mdmkit.model.backbone.Source("toy:0", "cpu", "auto", {"tokenizer": object()})

    with pytest.raises(MdmkitError, match="needs the options of model toy:0 as plain values"):
        recipe_of(composed, Options())
    Options.source = mdmkit.model.backbone.Source("toy:0", "cpu", "auto", {"tp": 2})
    with pytest.raises(MdmkitError, match=r"the processes of torchrun share model toy:0.*Leave tp out, or decode in"):
        recipe_of(composed, Options())


def test_other_versions_of_the_parts_are_refused(parts: Path) -> None:
    recipe = recipe_of(mdmkit.compose(score="law_plain", select="law_quota"), mdmkit.load("law_toy:toy:0"))
    config = json.loads(json.dumps(recipe.sampler))
    config["parts"]["score"]["version"] = "0.0.1"
    with pytest.raises(MdmkitError, match=r"another sampler: parts is .* Install the same versions"):
        decode_unit(dataclasses.replace(recipe, sampler=config), Unit(0, tuple(read_prompts(["ab"], 0)), 1))


def test_slots_that_are_halved_hold_for_units_that_are_taken_later(parts: Path) -> None:
    """Two units are taken before the first outcome says that memory was too small; the third unit gets half."""
    taken: list[tuple[int, int, bool]] = []

    @dataclass(frozen=True)
    class Ahead(UnitEngine):
        def __call__(self, work):
            units = iter(work)
            first, second = next(units), next(units)
            taken.extend((unit.number, unit.slots, unit.halved) for unit in (first, second))
            for unit in (second, first):
                yield dataclasses.replace(decode_unit(work.recipe, unit), slots=unit.slots // 2)
            for unit in units:
                taken.append((unit.number, unit.slots, unit.halved))
                yield decode_unit(work.recipe, unit)

    slots: dict[int, int] = {}
    said: list[str] = []
    sampler, backbone = mdmkit.compose(score="law_plain", select="law_quota"), mdmkit.load("law_toy:toy:0")
    prompts = read_prompts(PROMPTS, 0)
    batches = decode_batches(sampler, backbone, prompts, batch=2, engine=Ahead(), slots=slots, tell=said.append)
    assert sorted(row.index for rows, _ in batches for row in rows) == list(range(20))
    assert taken == [(0, 2, False), (1, 2, False), (2, 1, True)]
    assert 0 in slots and {*slots.values()} == {1}
    assert set(said) == {"Out of GPU memory with 2 rows: decoding 1 at a time from here on."}


# -- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `mdmkit decode` on twenty-four puzzles, four at a time, with the example's plugin file."""
    prompts = tmp_path / "prompts.jsonl"
    lines = [{"prompt": f"{2 + i % 8}*{3 + i % 7}=" + "_" * (4 + 3 * (i % 2))} for i in range(24)]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def call(*options: Any) -> Any:
        monkeypatch.setattr(registry, "_default", None)
        words = ["--plugin", FILE, "--model", "zoo:puzzles", "--sampler", "confidence", "--no-live", "--batch", 4]
        return CliRunner().invoke(main, ["decode", *map(str, [*words, "--prompts", prompts, *options])])

    return call


def test_two_processes_write_the_bytes_of_one(run: Any, tmp_path: Path) -> None:
    here, there, cut = (tmp_path / f"{name}.jsonl" for name in ("here", "there", "cut"))
    assert run("--output", here).exit_code == 0
    result = run("--output", there, "--engine", "processes", "--workers", 2)
    assert result.exit_code == 0, result.output
    assert there.read_bytes() == here.read_bytes()
    records = [(tmp_path / f"{name}.jsonl.run.json") for name in ("here", "there")]
    assert records[0].read_bytes() == records[1].read_bytes()  # the engine is no part of a run's identity
    # A run that one engine began goes on with another.
    cut.write_bytes(b"".join(here.read_bytes().splitlines(keepends=True)[:5]))
    (tmp_path / "cut.jsonl.run.json").write_bytes(records[0].read_bytes())
    result = run("--output", cut, "--resume", "--engine", "processes")
    assert result.exit_code == 0, result.output
    assert "rows were there before" in result.output
    assert cut.read_bytes() == here.read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--observer", "stream"], "--observer must see every step"),
        (["--live"], "--live must see every step"),
        (["--trace", "t.json"], "--trace (as JSON) must see every step"),
        (["--observer", "stream", "--live"], "--observer and --live must see every step"),
    ],
)
def test_options_that_must_see_steps_are_refused_for_a_remote_engine(options: list[str], said: str, run: Any) -> None:
    result = run("--engine", "processes", *options)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert "engine 'processes' of file:engine.py" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine", "rai"], "unknown engine 'rai'"),
        (["--engine", "processes", "--engine-option", "worker=2"], "Did you mean 'workers'"),
        (["--engine", "processes", "--engine-option", "workers=many"], "engine.workers must be a whole number"),
        (["--engine-option", "workers"], "write it as KEY=VALUE, e.g. --engine-option workers=2"),
        (["--engine-option", "name=processes"], "name the engine with --engine"),
        (["--engine-option", "workers=2"], "unknown engine 'here' parameter 'workers'"),
        (["--workers", "2"], "unknown engine 'here' parameter 'workers'"),
        (["--engine", "processes", "--workers", "2", "--address", "auto"], "unknown engine 'processes' parameter"),
        (["--engine", "processes", "--workers", "2", "--engine-option", "workers=2"], "are one option: give one"),
    ],
)
def test_a_wrong_engine_is_refused_before_anything_is_loaded(
    options: list[str], said: str, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdmkit.model.loading.load", lambda *args, **more: pytest.fail("a model was loaded"))
    result = run(*options)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


PRETENDS = """
from dataclasses import dataclass
from typing import ClassVar

from mdmkit import Component, UnitEngine, hookimpl

@dataclass(frozen=True)
class Pretends(UnitEngine):
    remote: ClassVar[bool] = True

    def __call__(self, work):
        yield from map(work.decode, work)

class NoDataclass:
    def __call__(self, work):
        yield from map(work.decode, work)

@hookimpl
def mdmkit_engine():
    return [Component("pretends", Pretends), Component("no_dataclass", NoDataclass)]
"""


def test_the_progress_bar_gets_the_rows_of_a_remote_engine_and_those_alone(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pretends.py").write_text(PRETENDS)
    asked, counted = [], []

    class View(mdmkit.Observer):
        def count(self, rows, tokens):
            counted.append((len(rows), tokens))

        def on_step(self, *given):
            pytest.fail("it sees a step")

    def watching(live, prompts, tokens):
        asked.append((live, prompts, tokens))
        return contextlib.nullcontext([View()])

    monkeypatch.setattr("mdmkit.cli.run.watching", watching)
    output = tmp_path / "out.jsonl"
    words = ["--plugin", tmp_path / "pretends.py", "--engine", "pretends", "--output", output]
    assert run(*words).exit_code == 0
    assert asked == [(False, 24, 12 * 4 + 12 * 7)]
    assert [sum(each) for each in zip(*counted, strict=True)] == [24, 12 * 4 + 12 * 7]
    # Rows that are there already are decoded again with their unit, but they are not counted.
    output.write_bytes(b"".join(output.read_bytes().splitlines(keepends=True)[:6]))
    asked.clear()
    counted.clear()
    assert run(*words, "--resume").exit_code == 0
    assert asked == [(False, 18, 9 * 4 + 9 * 7)]
    assert [sum(each) for each in zip(*counted, strict=True)] == [18, 9 * 4 + 9 * 7]


def test_check_tries_engines_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_default", registry.Registry([]))
    (tmp_path / "pretends.py").write_text(PRETENDS)
    result = CliRunner().invoke(main, ["check", "--plugin", str(tmp_path / "pretends.py")])
    lines = {line.split(" of ")[0]: line for line in result.stdout.splitlines()}
    assert "ok   engine 'here'" in lines and "ok   engine 'pretends'" in lines
    assert "an engine must be a dataclass" in lines["FAIL engine 'no_dataclass'"]


def test_the_progress_bar_counts_rows_that_end_in_other_processes() -> None:
    meter = Meter(Console(file=io.StringIO()), 3, 20)
    rows = mdmkit.decode(mdmkit.compose(score=ByConfidence(), select=TakeQuota()), ToyBackbone(), ["a", "ab"]).rows
    meter.count(rows, 16)
    bar = meter.bar.tasks[0]
    assert (bar.completed, bar.total, bar.fields["done"], bar.fields["nfe"]) == (16, 20, 2, sum(r.nfe for r in rows))
