"""If a Countdown puzzle has a solution: every value that its numbers can make is tried, exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from fractions import Fraction

# The time grows twentyfold with each number: five take a tenth of a second, six would take more than one.
MOST = 5


def can_reach(numbers: Sequence[int], target: int) -> bool:
    """True if the target can be made of all the numbers and + − × ÷. It is not tried for more than `MOST` numbers."""
    if len(numbers) > MOST:
        return True
    every = (1 << len(numbers)) - 1
    made = {1 << i: {Fraction(number)} for i, number in enumerate(numbers)}
    for chosen in range(1, every):  # a part has a smaller number than the whole
        if chosen not in made:
            made[chosen] = {
                value for a, b in _parts(chosen) for x in made[a] for y in made[b] for value in _results(x, y)
            }
    if len(numbers) == 1:
        return made[every] == {target}
    goal = Fraction(target)
    return any(_completes(x, made[b], goal) for a, b in _parts(every) for x in made[a])


def _parts(chosen: int) -> Iterator[tuple[int, int]]:
    """Every way to divide the chosen numbers in two, once; numbers are bits."""
    part = (chosen - 1) & chosen
    while part > chosen ^ part:
        yield part, chosen ^ part
        part = (part - 1) & chosen


def _results(x: Fraction, y: Fraction) -> Iterator[Fraction]:
    yield from (x + y, x - y, y - x, x * y)
    if y:
        yield x / y
    if x:
        yield y / x


def _completes(x: Fraction, others: Set[Fraction], goal: Fraction) -> bool:
    """True if one operation on `x` and another value makes the goal: only few other values can."""
    if not x:
        return goal in others or -goal in others or not goal  # 0 × y
    wanted = {goal - x, x - goal, goal + x, goal / x, goal * x, *([x / goal] if goal else [])}
    return not wanted.isdisjoint(others)
