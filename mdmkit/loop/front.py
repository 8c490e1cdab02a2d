"""An engine in its own thread, for callers that wait for one row each: `row = await front.generate(prompt)`."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import warnings
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit.errors import MdmkitError, told
from mdmkit.loop.engine import Ended, Engine

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row
    from mdmkit.loop.encoded import Encoded

CLOSED = "the engine is closed: no prompt can be admitted any more."


@dataclass(frozen=True)
class _Asked:
    """What a task asks of the thread: to decode a prompt, or to give its row up."""

    future: Future[Row]
    given: tuple[Prompt | Encoded, float | None] | None


class AsyncEngine:
    """Run an engine in its own thread; any number of tasks may wait for rows.

    If a task is cancelled, its row is given up, and its slot is free at the next step. If a part of the sampler or an
    observer raises an exception, the rows at work fail, and the engine goes on with the prompts that wait. If the GPU
    is out of memory, the rows at work begin again, half as many at a time; if there is only one slot, its row fails.
    If the thread itself ends, every task that waits gets an error that says why, and so does every later one.

    Use it as a context manager, or call `close`. If the program ends without, the rows at work are given up.

    Raises:
        MdmkitError: it is given anything but an engine.
    """

    def __init__(self, engine: Engine):
        if not isinstance(engine, Engine):
            raise MdmkitError(
                f"AsyncEngine runs an engine, not {engine!r}: AsyncEngine(Engine(sampler, backbone, slots))."
            )
        self.engine = engine
        self._asked: deque[_Asked] = deque()
        self._futures: dict[int, Future[Row]] = {}
        # Guards `_asked` and `_refusal` together: what is appended while nothing is refused will be taken.
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._refusal: str | None = None
        self._abandoned = False
        # A thread that is in the middle of a step when the interpreter goes would end the process by an abort.
        atexit.register(self._abandon)
        self._thread = threading.Thread(target=self._run, name="mdmkit-engine", daemon=True)
        self._thread.start()

    async def generate(self, prompt: Prompt | Encoded, timeout: float | None = None) -> Row:
        """Decode one prompt, together with the prompts of other callers.

        Args:
            prompt: the prompt, or the result of `Engine.encode`.
            timeout: seconds from the admission after which the row is given up; None: never.

        Raises:
            MdmkitError: the prompt cannot be encoded or decoded, it ran out of time, or the engine is closed.
        """
        future: Future[Row] = Future()
        with self._lock:
            if self._refusal is not None:
                raise MdmkitError(self._refusal)
            self._asked.append(_Asked(future, (prompt, timeout)))
        self._wake.set()
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            with self._lock:
                self._asked.append(_Asked(future, None))
            self._wake.set()
            raise

    def close(self) -> None:
        """Wait until all admitted rows have ended, then stop the thread."""
        self._refuse(CLOSED)
        self._wake.set()
        self._thread.join()
        atexit.unregister(self._abandon)

    def _abandon(self) -> None:
        self._abandoned = True
        self.close()

    def __enter__(self) -> AsyncEngine:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def _refuse(self, why: str) -> None:
        with self._lock:
            self._refusal = self._refusal or why

    def _run(self) -> None:
        why = "the engine has ended."
        try:
            while self._turn():
                pass
            why = CLOSED
        except BaseException as error:  # also SystemExit: otherwise every task would wait for ever
            why = f"the engine has ended: {told(error)}. Make a new one."
        finally:
            self._refuse(why)
            with self._lock:
                left = [*self._futures.values(), *(asked.future for asked in self._asked if asked.given)]
            for future in left:
                _answer(future, MdmkitError(why))

    def _turn(self) -> bool:
        """Do what was asked, then take a step; wait if there is nothing to do. False: it is closed and all is done."""
        if self._abandoned:
            return False
        try:
            self._take_asked()
            if self.engine.busy:
                self._answer_all(self.engine.step())
                return True
        except torch.OutOfMemoryError as error:
            trouble: Exception = error.with_traceback(None)  # which keeps the step's tensors alive
        except Exception as error:
            trouble = error
        else:
            return self._rest()
        if not (isinstance(trouble, torch.OutOfMemoryError) and self._halved()):
            self._fail(trouble)
        return True

    def _answer_all(self, ended: list[Ended]) -> None:
        for each in ended:
            future, out = self._futures.pop(each.id, None), each.error if each.row is None else each.row
            if future is not None and out is not None:
                _answer(future, out)

    def _rest(self) -> bool:
        """Wait until something is asked. False: the engine is closed, and nothing was asked before."""
        with self._lock:
            if self._asked or self._refusal is not None:
                return bool(self._asked)
            self._wake.clear()
        self._wake.wait()
        return True

    def _halved(self) -> bool:
        rows = len(self.engine.state.places)
        halved = self.engine.halve()
        if halved:
            said = f"Out of GPU memory with {rows} rows: decoding {self.engine.slots} at a time from here on."
            with contextlib.suppress(Warning):  # warnings may be errors here, and this one must not end the thread
                warnings.warn(said, stacklevel=2)
        return halved

    def _take_asked(self) -> None:
        while self._asked:
            asked = self._asked.popleft()
            if asked.given is not None:
                self._admit(asked.future, *asked.given)
                continue
            for id_ in [id_ for id_, known in self._futures.items() if known is asked.future]:
                self.engine.cancel(id_)

    def _admit(self, future: Future[Row], prompt: Prompt | Encoded, timeout: float | None) -> None:
        if future.cancelled():
            return
        try:
            self._futures[self.engine.admit(prompt, timeout)] = future
        except MdmkitError as error:
            _answer(future, error)
        except BaseException as error:
            own = MdmkitError(f"the prompt cannot be encoded: {told(error)}")
            own.__cause__ = error
            _answer(future, own)
            if not isinstance(error, Exception):
                raise

    def _fail(self, error: Exception) -> None:
        """Give up the rows at work because of an error. Those that wait can still be decoded."""
        places = self.engine.state.places
        own = _as_own(error, len(places), max((place.length for place in places), default=0))
        at_work = self.engine.at_work
        try:
            self._answer_all(self.engine.abandon(waiting=False))
        finally:
            self._answer_all([Ended(id_, error=own) for id_ in at_work])


def _answer(future: Future[Row], what: Row | MdmkitError) -> None:
    """Give a task its row or its error, unless it was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(what, MdmkitError):
        future.set_exception(what)
    else:
        future.set_result(what)


def _as_own(error: Exception, rows: int, columns: int) -> MdmkitError:
    if isinstance(error, MdmkitError):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        return MdmkitError(
            f"the engine is out of GPU memory with {rows} row{'s' * (rows != 1)} at work, the longest of {columns} "
            "columns, and cannot decode fewer together. Shorten the prompt or plan.length, or load the model in a "
            f"smaller type (bfloat16). {told(error)}"
        )
    return MdmkitError(f"the engine failed: {told(error)}")
