"""The units of a decode: each is handed out once, and its outcome is checked."""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

from mdmkit.decoding.closing import Closing
from mdmkit.decoding.outcome import wrong_field
from mdmkit.decoding.recipe import Recipe, recipe_of
from mdmkit.decoding.unit import Outcome, Unit, UnitDecoder
from mdmkit.errors import FAILURES, MdmkitError
from mdmkit.settings.numbers import is_whole

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.decoding.encodings import Encodings
    from mdmkit.loop.observe import Watchers
    from mdmkit.loop.sampler import Sampler

T = TypeVar("T")

# An error names at most this many prompts.
NAMED = 8

# The end of an engine's outcomes. An engine may yield None, so None cannot be it.
END: Any = object()


class Work:
    """The units that an engine decodes. Iterate over it to take them: each is handed out once, in order.

    Args:
        grouped: the prompts of each unit.
        encodings: the prompts as the model has them; a unit's are deleted when its outcome is there.
        batch: the number of slots, if memory is large enough.
        watchers: the observers of the units that this process decodes.
        tell: gets the sentence that says that the number of slots was halved.
        slots: index of a unit's first prompt -> the number of slots from this unit on, if it is not `batch`. It is
            read when a unit is taken, and changed when memory is too small.
        auto: True: the number of slots is halved as often as needed; False: once.
    """

    def __init__(
        self,
        sampler: Sampler,
        grouped: Iterable[list[Prompt]],
        encodings: Encodings,
        batch: int,
        watchers: Watchers,
        tell: Callable[[str], None],
        slots: MutableMapping[int, int] | None = None,
        auto: bool = False,
    ):
        self.sampler, self.encodings, self.batch, self.tell = sampler, encodings, batch, tell
        self.slots, self.auto = {} if slots is None else slots, auto
        self._decoder = UnitDecoder(sampler, encodings, watchers, self._note)
        self._units = self._hand_out(grouped)
        self._taken: dict[int, Unit] = {}  # those without an outcome
        self._count = 0
        self._recipe: Recipe | None = None
        self._failure: Exception | None = None

    def __iter__(self) -> Iterator[Unit]:
        return self._units

    @property
    def recipe(self) -> Recipe:
        """What another process needs to decode the units, with `mdmkit.decode_unit`.

        Raises:
            MdmkitError: another process cannot make the sampler or the model.
        """
        if self._recipe is None:
            self._recipe = recipe_of(self.sampler, self.encodings.backbone)
        return self._recipe

    def decode(self, unit: Unit) -> Outcome:
        """Decode a unit in this process.

        Raises:
            MdmkitError: memory is too small. If a row fails, its error is among the errors of the outcome.
        """
        try:
            return self._decoder(unit)
        except Exception as error:
            self._failure = error
            raise

    def outcomes(
        self, run: Callable[[Work], Iterable[Outcome]], named: Callable[[], str]
    ) -> Generator[Outcome, None, None]:
        """Let an engine decode all units; yield each unit's outcome. If this is closed, the engine is closed too.

        If the engine also fails when it is closed, the first error is raised.

        Args:
            run: the engine.
            named: returns the engine's name and its plugin, for errors.

        Raises:
            MdmkitError: a unit fails, the engine fails or loses a unit, or yields what is no outcome of a unit.
        """
        running = self._guarded(lambda: iter(run(self)), named)
        with Closing(lambda: self._close(running, named)):
            while (outcome := self._guarded(lambda: next(running, END), named)) is not END:
                self._take_in(outcome, named)
                yield outcome
        next(self._units, None)  # one that the engine has not taken is lost too
        if self._taken:
            raise MdmkitError(f"{named()} has lost {_prompts(self._taken.values())}: it must yield each unit once.")

    def _hand_out(self, grouped: Iterable[list[Prompt]]) -> Iterator[Unit]:
        try:
            for prompts in grouped:
                slots = self._slots_of(prompts)
                unit = Unit(self._count, tuple(prompts), slots, slots < self.batch and not self.auto, self.auto)
                self._count += 1
                self._taken[unit.number] = unit
                yield unit
        except Exception as error:  # of the function that makes the prompts, not of the engine
            self._failure = error
            raise

    def _slots_of(self, prompts: Iterable[Prompt]) -> int:
        # Read the notes of all earlier units: the number that one of them noted holds for all later units.
        first = min(prompt.index for prompt in prompts)
        return min((self.batch, *(number for index, number in self.slots.items() if index <= first)))

    def _note(self, unit: Unit, rows: int, slots: int) -> None:
        first = min(prompt.index for prompt in unit.prompts)
        if self.slots.get(first, self.batch) > slots:
            self.slots[first] = slots
            self.tell(f"Out of GPU memory with {rows} rows: decoding {slots} at a time from here on.")

    def _guarded(self, ask: Callable[[], T], named: Callable[[], str]) -> T:
        """Ask the engine for something; an exception of its own becomes an error that names it."""
        handled = sys.exception()  # of the caller, so not of this decode
        try:
            return ask()
        except MdmkitError:
            raise
        except FAILURES as error:
            if error is self._failure:  # as it would be without the engine
                raise
            if (first := self._first(error, handled)) is not None:
                raise first from first.__cause__
            raise MdmkitError(f"{named()} failed: {_said(error)}.{self._missing()}") from error

    def _first(self, error: BaseException, handled: BaseException | None) -> Exception | None:
        """If the engine failed after the error of a unit, as in a `finally`, return the error of the unit."""
        before: BaseException | None = error
        while before is not None and before.__cause__ is None and not before.__suppress_context__:
            before = before.__context__
            if before is None or before is handled:
                break
            if isinstance(before, Exception) and (isinstance(before, MdmkitError) or before is self._failure):
                return before
        return None

    def _close(self, running: Iterator[Outcome], named: Callable[[], str]) -> None:
        try:
            close = getattr(running, "close", None)
            if close is not None:
                close()
        except FAILURES as error:
            raise MdmkitError(f"{named()} failed when it was closed: {_said(error)}.{self._missing()}") from error

    def _missing(self) -> str:
        return f" No rows came of {_prompts(self._taken.values())}." if self._taken else ""

    def _take_in(self, outcome: Outcome, named: Callable[[], str]) -> None:
        if not isinstance(outcome, Outcome):
            raise MdmkitError(
                f"{named()} yielded {reprlib.repr(outcome)}: it must yield the outcomes of decoding units."
                f"{self._missing()}"
            )
        if not is_whole(outcome.number):
            raise MdmkitError(
                f"{named()} yielded an outcome with number={reprlib.repr(outcome.number)}: it must be the number of "
                f"its unit.{self._missing()}"
            )
        unit = self._taken.get(outcome.number)
        if unit is None:
            what = " twice" if outcome.number in range(self._count) else ", and no such unit was handed out"
            raise MdmkitError(f"{named()} yielded unit {outcome.number}{what}: it must yield each unit once.")
        if wrong := wrong_field(outcome, unit):
            raise MdmkitError(f"{named()} yielded an outcome of {_prompts([unit])} with {wrong}.")
        rows, asked = [row.index for row in outcome.rows], {prompt.index for prompt in unit.prompts}
        if not asked.issuperset(rows) or len({*rows}) + len(outcome.errors) != len(asked) or len({*rows}) < len(rows):
            raise MdmkitError(
                f"{named()} yielded {len(rows)} rows and {len(outcome.errors)} errors for {_prompts([unit])}: each "
                "prompt must have one row or one error."
            )
        del self._taken[unit.number]
        if outcome.slots < unit.slots:  # of another process only this is known: the unit's own number failed first
            self._note(unit, min(unit.slots, len(unit.prompts)), outcome.slots)
        self.encodings.forget(unit.prompts)


def _said(error: BaseException) -> str:
    kind = "" if isinstance(error, MdmkitError) else f"{type(error).__name__}: "
    return f"{kind}{' '.join(str(error).split())}".rstrip(": .")


def _prompts(units: Iterable[Unit]) -> str:
    numbers = sorted(prompt.index for unit in units for prompt in unit.prompts)
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return f"{'prompts' if len(numbers) > 1 else 'prompt'} {', '.join(map(str, numbers[:NAMED]))}{more}"
