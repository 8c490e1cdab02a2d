"""How units are given to workers, and what happens when workers die: with a Ray that answers at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError, RayTaskError

from mdmkit import MdmkitError, MdmkitWarning, Outcome, Unit, read_prompts
from mdmkit_ray import shift
from mdmkit_ray.shift import Shift

Decode = Callable[[Unit], Outcome]


class Worker:
    """A worker whose answers are there as soon as they are asked for; the time of each is the number of calls."""

    def __init__(self, decode: Decode, meets: Callable[[], None] = lambda: None):
        self.decode, self.meets, self.most, self.deaths = decode, meets, 0, 0
        self.calls: deque[Any] = deque()
        self.meet()

    met = property(lambda self: not self.calls or self.calls[0][1] is not None)
    units = property(lambda self: [unit for _, unit in self.calls if unit is not None])

    def meet(self) -> None:
        self.calls.append((lambda: self.meets(), None))  # a call of its own

    def give(self, unit: Unit) -> None:
        self.calls.append((lambda: self.decode(unit), unit))
        self.most = max(self.most, len(self.calls))

    def replace(self) -> None:
        self.deaths += 1
        self.calls.clear()
        self.meet()


@pytest.fixture(autouse=True)
def _instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers answer in turn: the one that was asked first comes last."""
    turn: list[Any] = []

    def wait(calls: list[Any], *, num_returns: int, timeout: float | None = None) -> Any:
        turn[:] = [call for call in turn if call in calls] + [call for call in calls if call not in turn]
        return [turn.pop(0)], []

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", lambda call: call())


def units(count: int, rows: int = 4) -> Iterator[Unit]:
    prompts = read_prompts(["ab"] * count * rows, 0)
    return (Unit(i, tuple(prompts[i * rows : (i + 1) * rows]), rows) for i in range(count))


def plain(unit: Unit) -> Outcome:
    return Outcome(unit.number, [], [], 1, unit.slots)


def collect(workers: list[Worker], given: Iterator[Unit], into: list[int]) -> None:
    for outcome in Shift(workers, given).outcomes():  # type: ignore[arg-type]
        into.append(outcome.number)


def numbers(workers: list[Worker], count: int) -> list[int]:
    found: list[int] = []
    collect(workers, units(count), found)
    return found


def killed_by(*prompts: int, tries: list[list[int]] | None = None) -> Decode:
    """Die of a unit that holds all these prompts."""

    def decode(unit: Unit) -> Outcome:
        held = [prompt.index for prompt in unit.prompts]
        if set(prompts) <= set(held):
            if tries is not None:
                tries.append(held)
            raise RayActorError
        return plain(unit)

    return decode


def test_everybody_has_one_unit_before_anybody_has_two_and_nobody_has_three() -> None:
    taken: list[int] = []

    def noted() -> Iterator[Unit]:
        for unit in units(9):
            taken.append(unit.number)
            yield unit

    workers = [Worker(plain) for _ in range(3)]
    outcomes = Shift(workers, noted()).outcomes()  # type: ignore[arg-type]
    assert next(outcomes).number == 0
    assert len(taken) <= 6, "units are taken when they can be worked on"
    assert sorted(outcome.number for outcome in outcomes) == [*range(1, 9)]
    assert {worker.most for worker in workers} == {2}
    few = [Worker(plain) for _ in range(3)]
    assert sorted(numbers(few, 3)) == [0, 1, 2]
    assert {worker.most for worker in few} == {1}


def test_a_unit_whose_worker_died_is_decoded_by_another_and_comes_once() -> None:
    tries: list[list[int]] = []
    first, second = Worker(killed_by(8, tries=tries)), Worker(plain)
    assert sorted(numbers([first, second], 9)) == [*range(9)]
    assert tries == [[8, 9, 10, 11]] and first.deaths == 1


def test_the_prompt_that_kills_is_found_and_all_other_units_are_finished() -> None:
    tries: list[list[int]] = []
    got: list[int] = []
    with pytest.raises(MdmkitError) as caught:
        collect([Worker(killed_by(9, tries=tries)) for _ in range(2)], units(9), got)
    assert sorted(got) == [0, 1, 3, 4, 5, 6, 7, 8]
    assert tries == [[8, 9, 10, 11]] * 3 + [[8, 9], [9]]
    assert str(caught.value).startswith("engine 'ray' of mdmkit-ray 0.1.0: the process that decodes prompt 9 dies.")
    assert "The rows of prompts 8-11 are missing" in str(caught.value)
    assert isinstance(caught.value.__cause__, RayActorError)


def test_prompts_that_kill_only_together_are_all_named() -> None:
    with pytest.raises(MdmkitError, match=r"decodes prompts 8-11 together dies, though none of them alone ends it"):
        numbers([Worker(killed_by(8, 11))], 4)


def test_a_unit_that_waited_in_a_process_that_died_is_not_blamed() -> None:
    """The first unit kills; the next one waits behind it each time, and is decoded after it."""
    got: list[int] = []
    with pytest.raises(MdmkitError, match="decodes prompt 0 dies"):
        collect([Worker(killed_by(0))], units(2, rows=1), got)
    assert got == [1]


def test_an_error_of_a_worker_is_raised_as_it_is() -> None:
    def refuse(unit: Unit) -> Outcome:
        raise RayTaskError("decode", "traceback", MdmkitError("a worker on m: memory is too small."))

    with pytest.raises(MdmkitError, match=r"^a worker on m: memory is too small\.$"):
        numbers([Worker(refuse)], 1)


def test_workers_that_cannot_begin_end_the_decode() -> None:
    def missing() -> None:
        raise RayActorError(error_msg="it died\nModuleNotFoundError: No module named 'mdmkit_ray'.")

    workers = [Worker(plain, missing) for _ in range(2)]
    with pytest.raises(MdmkitError, match=r"workers cannot begin: ModuleNotFoundError: No module named 'mdmkit_ray'\."):
        numbers(workers, 1)
    assert sum(worker.deaths for worker in workers) == 4


def test_a_note_says_that_no_worker_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ray.wait

    def wait(calls: list[Any], *, num_returns: int, timeout: float | None = None) -> Any:
        return ([], calls) if timeout is not None else answers(calls, num_returns=num_returns)

    monkeypatch.setattr(ray, "wait", wait)
    assert shift.PATIENCE == 30
    with pytest.warns(MdmkitWarning, match="no worker has begun after 30 s"):
        assert numbers([Worker(plain)], 2) == [0, 1]
