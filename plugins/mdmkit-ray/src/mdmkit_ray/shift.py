"""One decode of some workers: units are given to them, and given again if a worker dies."""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError, MdmkitWarning
from mdmkit_ray.lost import Lost

if TYPE_CHECKING:
    from mdmkit import Outcome, Unit, Work
    from mdmkit_ray.hired import Hired

# Units of a worker: one is decoded, one waits in its process.
AHEAD = 2
# How often a unit is given again if its worker has died.
RETRIES = 2
# Seconds without any worker after which a note says so.
PATIENCE = 30.0


class Shift:
    """One decode.

    Args:
        hired: the workers; `meet` was called.
    """

    def __init__(self, hired: Sequence[Hired], work: Work):
        self.hired, self._units, self._more = hired, iter(work), True
        self._again: deque[tuple[Unit, Hired]] = deque()  # units whose worker has died, and this worker
        self._deaths: Counter[int] = Counter()  # number of a unit -> workers that died at work on it
        self._early = 0  # workers that died before they had a unit
        self._lost = Lost()

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcome of each unit, in any order.

        Raises:
            MdmkitError: a worker refuses the recipe, or workers cannot begin. At the end: units killed their workers.
        """
        while self._hand_out():
            yield from self._answer()
        self._lost.check()

    def _hand_out(self) -> bool:
        """Give units to those who can take one. Return True if there is anything to wait for."""
        # Everybody has one before anybody has two, also those who have not begun yet.
        for depth in range(AHEAD if all(one.met for one in self.hired) else 1):
            for one in self.hired:
                if one.met and len(one.calls) <= depth and (unit := self._take(one)) is not None:
                    one.give(unit)
        return bool(self._more or self._again or any(one.units for one in self.hired))

    def _take(self, one: Hired) -> Unit | None:
        others = any(other.met for other in self.hired if other is not one)
        for place, (unit, died) in enumerate(self._again):
            if died is not one or not others:  # its machine may be the cause
                del self._again[place]
                return unit
        new = next(self._units, None) if self._more else None
        self._more = new is not None
        return new

    def _answer(self) -> Iterator[Outcome]:
        """Wait for the first answer of any worker; yield it if it is an outcome."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        one = self._first()
        call, unit = one.calls[0]
        try:
            answer = ray.get(call)
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from error
        except RayError as error:  # its process has ended, or its machine is gone
            self._died(one, error)
            return
        one.calls.popleft()
        if unit is not None and not self._lost.has(unit):
            yield answer

    def _first(self) -> Hired:
        """Return the worker that answers first. Only its first call counts: it is at work on this one."""
        import ray

        waiting: dict[Any, Hired] = {one.calls[0][0]: one for one in self.hired if one.calls}
        ready, _ = ray.wait([*waiting], num_returns=1, timeout=None if any(one.met for one in self.hired) else PATIENCE)
        if not ready:
            warnings.warn(
                f"no worker has begun after {PATIENCE:.0f} s: the CPUs or GPUs of the cluster may be in use. Waiting.",
                MdmkitWarning,
                stacklevel=2,
            )
            ready, _ = ray.wait([*waiting], num_returns=1)
        return waiting[ready[0]]

    def _died(self, one: Hired, error: Exception) -> None:
        """Begin a worker in the place of one that has died, and give its units again."""
        units = one.units
        if not one.met:
            self._early += 1
            if self._early > RETRIES * len(self.hired):
                raise MdmkitError(
                    f"workers cannot begin: {_last_line(error)}. Every machine needs mdmkit-ray, mdmkit, and the "
                    "plugins that are used."
                ) from error
        else:
            at_work = units.pop(0)
            self._deaths[at_work.number] += 1
            again = [at_work] if self._deaths[at_work.number] <= RETRIES else self._lost.killed(at_work, error)
            units = [*again, *units]
        self._again.extend((unit, one) for unit in units)
        one.replace()


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].rstrip(". ")
