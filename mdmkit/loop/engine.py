"""The engine: it admits prompts, lets rows join and leave the loop, and returns rows, or errors, as they end."""

from __future__ import annotations

import contextlib
import gc
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit.canvas.canvas import Canvas
from mdmkit.canvas.prompt import Prompt
from mdmkit.canvas.row import Row
from mdmkit.canvas.trace import Trace
from mdmkit.errors import MdmkitError
from mdmkit.loop.asking import Asking
from mdmkit.loop.encoded import Encoded, overwritten
from mdmkit.loop.finished import row_of
from mdmkit.loop.left import Left
from mdmkit.loop.loop import take_step
from mdmkit.loop.observe import Observer, Watchers
from mdmkit.loop.readiness import check_pair, note_without_effect
from mdmkit.loop.state import State
from mdmkit.loop.waiting import Room, Waiting, together
from mdmkit.model.backbone import unwrapped
from mdmkit.settings.numbers import is_whole, own

if TYPE_CHECKING:
    from mdmkit.loop.kept import KeptBlocks
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone


@dataclass(frozen=True)
class Ended:
    """A row that has ended.

    Attributes:
        id: the id that `admit` returned.
        row: the finished row, or None if there is an error.
        error: a `RowError` that names the prompt, or an error that says that the row was cancelled or ran out of time.
    """

    id: int
    row: Row | None = None
    error: MdmkitError | None = None


class Engine:
    """Decode prompts with one sampler and one model, at most `slots` rows at a time; rows join and leave at any step.

    Args:
        sampler: a composed sampler.
        backbone: a loaded model.
        slots: the largest number of rows that are decoded together.
        columns: the largest number of columns of all rows at work together, because the store of frozen columns grows
            with it. A row takes its length and `plan.room`, once for each particle of a search and each of guidance's
            two branches. A prompt waits until it fits. None: no limit.
        observers: observers of every row and step. For `Watchers`, `on_start` has already been called.
        first: the first row's id.
        kept: keeps finished blocks of rows that end, for rows that begin with the same tokens: under the cache `block`,
            without search, guidance and `plan.room`. Others neither keep nor find any. None: nothing is kept.

    Raises:
        MdmkitError: `slots` or `columns` is no whole number from 1, or the model lacks what the sampler needs.
    """

    def __init__(
        self,
        sampler: Sampler,
        backbone: Backbone,
        slots: int,
        columns: int | None = None,
        observers: Iterable[Observer] | Watchers = (),
        first: int = 0,
        kept: KeptBlocks | None = None,
    ):
        backbone, slots, columns = unwrapped(backbone), own(slots), own(columns)
        check_pair(sampler, backbone)
        if not (is_whole(slots) and slots >= 1):
            raise MdmkitError(f"slots={slots!r}: it is how many rows are decoded together, a whole number from 1.")
        self.sampler, self.backbone = sampler, backbone
        started = isinstance(observers, Watchers)
        self.watchers = observers if isinstance(observers, Watchers) else Watchers(observers)
        self.kept = kept
        self.state = State(sampler, backbone, slots, self.watchers, kept)
        self._room = Room(columns, sampler.plan.room, self.state.particles, self.state.runner.branches)
        self._calls = 0
        self._waiting: deque[Waiting] = deque()
        self._working: dict[int, Waiting] = {}
        self._ended: list[Ended] = []
        self._next = first
        if not started:
            note_without_effect(sampler, backbone)
            self.watchers.start(sampler, backbone)

    @property
    def calls(self) -> int:
        """The number of model calls so far."""
        return self._calls + self.state.runner.calls

    @property
    def slots(self) -> int:
        """The largest number of rows that are decoded together."""
        return self.state.slots

    @property
    def busy(self) -> bool:
        """True if any row is at work, waits, or has ended and was not returned yet."""
        return bool(self._waiting or self._working or self._ended)

    def encode(self, prompt: Prompt) -> Encoded:
        """Encode one prompt for `admit`.

        Raises:
            MdmkitError: it cannot be encoded.
        """
        return Encoded.of(prompt, self.backbone, self.sampler.plan)

    def columns_of(self, prompt: Encoded) -> int:
        """Return how many of the engine's `columns` a row takes while it is at work."""
        return self._room.of(prompt)

    def check(self, prompt: Encoded) -> None:
        """Refuse a prompt that `admit` would refuse.

        Raises:
            MdmkitError: it would never fit into `columns`, or the sampler's constraint leaves it no text, or does not
                read its rule.
        """
        self._room.check(prompt)
        self.state.check(prompt.canvas, f"prompt {prompt.prompt.index}", prompt.prompt.rule)

    def admit(self, prompt: Prompt | Encoded, timeout: float | None = None, *, checked: bool = False) -> int:
        """Queue one prompt; its row joins as soon as a slot is free.

        Args:
            prompt: the prompt, or the result of `encode`.
            timeout: seconds from now after which the row is given up; None: never.
            checked: True if `check` has let it pass.

        Returns:
            The row's id. Ids count from `first`.

        Raises:
            MdmkitError: it cannot be encoded, it would never fit into `columns`, the sampler's constraint leaves it no
                text, or `timeout` is no number above 0.
        """
        timeout = own(timeout)
        if timeout is not None and not ((is_whole(timeout) or isinstance(timeout, float)) and timeout > 0):
            raise MdmkitError(f"timeout={timeout!r}: it is a number of seconds above 0, or None for no limit.")
        encoded = prompt if isinstance(prompt, Encoded) else self.encode(prompt)
        if not checked:
            self.check(encoded)
        deadline = None if timeout is None else time.monotonic() + timeout
        id_, self._next = self._next, self._next + 1
        self._waiting.append(Waiting(id_, encoded, deadline))
        return id_

    def cancel(self, id: int) -> bool:
        """Give up a row that waits or is at work; its slot is free at once. Return False if there is no such row."""
        return self._give_up({id}, "was cancelled")

    def step(self) -> list[Ended]:
        """Let waiting prompts join, take one step, and return the rows that have ended since the last call.

        Raises:
            MdmkitError: a part of the sampler fails for all rows at once. All rows at work have then ended with this
                error, and the next call returns them.
        """
        self._enforce_deadlines()
        self._join_waiting()
        if self.state.busy:
            self.state.refill = self._refill if self._waiting else None
            try:
                take_step(self.state)
            except MdmkitError as error:  # some rows may have been changed, and others not: none goes on
                self._collect()
                self.state.drop(range(len(self.state.places)))
                self._end_without_place(error)
                raise
            except BaseException:  # what was stored in this step may not be there
                for place in self.state.places:
                    place.final = 0
                raise
            self._collect()
        out, self._ended = self._ended, []
        return out

    def drain(self) -> list[Ended]:
        """Take steps until no row is left; return all rows that ended."""
        out: list[Ended] = []
        while self.busy:
            out += self.step()
        return out

    @property
    def at_work(self) -> list[int]:
        """The ids of the rows at work."""
        return list(self._working)

    def abandon(self, waiting: bool = True) -> list[Ended]:
        """Give up the rows at work, and those that wait, without a result; return the rows that had ended before.

        The prompts can begin again in another engine. With `waiting` False, rows that wait stay.
        """
        self._collect()
        ended, self._ended = self._ended, []
        gone, self._working = list(self._working), {}
        if waiting:
            self._waiting = deque()
        if self.state.places:
            self.state.drop(range(len(self.state.places)))
        for id_ in gone:
            self._say_gone(id_)
        return ended

    def halve(self) -> bool:
        """Halve the number of slots, after running out of memory; rows at work begin again. False: there is only one.

        A failed step may have changed some rows and not others, so none of them goes on. A row that begins again under
        the same id has the same result.
        """
        if self.slots == 1:
            return False
        again, self._working = list(self._working.values()), {}
        self._waiting.extendleft(reversed(again))
        self._calls += self.state.runner.calls
        if self.kept is not None:
            self.kept.shrink()
        self.state = State(self.sampler, self.backbone, self.slots // 2, self.watchers, self.kept)
        free_memory(self.backbone)
        for one in again:
            self._say_gone(one.id)
        return True

    def _say_gone(self, id: int) -> None:
        """Tell the observers of a row that ends without a result. What they raise cannot change that."""
        with contextlib.suppress(MdmkitError):
            self.watchers.leave(id, None)

    def _refill(self) -> None:
        self._join_waiting(lambda canvas: not self.state.widens(canvas))

    def _join_waiting(self, fits: Callable[[Canvas], bool] = lambda canvas: True) -> None:
        joining: list[Waiting] = []
        places = [place for place in self.state.places if not place.ending]
        used = sum(self._room.of(self._working[place.id].encoded) for place in places)
        while self._waiting and len(joining) < self.state.free:
            wants = self._waiting[0].encoded
            if not self._room.fits(used, wants):
                break
            if bool(wants.canvas.open.any()) and not fits(wants.canvas):
                break
            one = self._waiting.popleft()
            try:
                self.watchers.admit(one.id, wants.prompt, wants.canvas)
            except MdmkitError as error:  # of an observer
                self._ended.append(Ended(one.id, error=error))
                continue
            self._working[one.id] = one
            if bool(wants.canvas.open.any()):
                joining.append(one)
                used += self._room.of(wants)
            else:  # nothing to fill
                trace = Trace.blank(1, wants.canvas.tokens.shape[1], says=self.state.says)
                self._end(Left(one.id, wants.canvas, trace))
        if not joining:
            return
        try:
            rules = [one.encoded.prompt.rule for one in joining]
            self.state.join(*together(self.backbone, joining), [one.id for one in joining], rules)
        except MdmkitError as error:  # of the model that joins their conditioning
            self._end_without_place(error)

    def _collect(self) -> None:
        for left in self.state.take_left():
            self._end(left)

    def _end(self, left: Left) -> None:
        one = self._working.pop(left.id)
        try:
            self._ended.append(self._out(one, left))
        except MdmkitError as error:  # of the model that decodes the row, or of an observer
            self._ended.append(Ended(one.id, error=error))

    def _end_without_place(self, error: MdmkitError) -> None:
        """End the rows that could not join, or that the failed step has lost."""
        placed = {place.id for place in self.state.places}
        for id_ in [id_ for id_ in self._working if id_ not in placed]:
            del self._working[id_]
            self._say_gone(id_)
            self._ended.append(Ended(id_, error=error))

    def _out(self, one: Waiting, left: Left) -> Ended:
        prompt = one.encoded.prompt
        if left.error is not None:
            self.watchers.leave(one.id, None)
            return Ended(one.id, error=left.error.of_prompt(prompt.index))
        if not one.encoded.kept_in(left.canvas):
            self.watchers.leave(one.id, None)
            return Ended(one.id, error=overwritten(self.state.sampler, prompt))
        row = row_of(self.backbone, prompt, one.encoded.canvas, left)
        self.watchers.leave(one.id, row)
        return Ended(one.id, row)

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        every = [*self._waiting, *self._working.values()]
        late = {one.id for one in every if one.deadline is not None and one.deadline <= now}
        if late:
            self._give_up(late, "ran out of time")

    def _give_up(self, ids: set[int], why: str) -> bool:
        gone = [one for one in self._waiting if one.id in ids]
        self._waiting = deque(one for one in self._waiting if one.id not in ids)
        rows = [row for row, place in enumerate(self.state.places) if place.id in ids]
        joined = [self._working.pop(self.state.places[row].id) for row in rows]
        if rows:
            self.state.reuse.keep(self.state.places, rows, self.state.canvas)
            self.state.drop(rows)
        for one in joined:
            self._say_gone(one.id)
        for one in (*gone, *joined):
            error = MdmkitError(f"prompt {one.encoded.prompt.index} {why}.")
            self._ended.append(Ended(one.id, error=error))
        return bool(gone or joined)


def free_memory(backbone: Backbone) -> None:
    """Give the memory of tensors that nobody needs any more back to the GPU, also what the model keeps to save time.

    Raises:
        MdmkitError: the backbone fails.
    """
    with Asking(backbone, "release"):
        backbone.release()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
