"""An engine in its own thread, for callers that wait for one row each: `row = await front.generate(prompt)`."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from mdmkit.errors import MdmkitError
from mdmkit.loop.engine import Encoded, Ended, Engine

if TYPE_CHECKING:
    from concurrent.futures import Future

    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row


class AsyncEngine:
    """Run an engine in its own thread; any number of tasks may wait for rows.

    If a task is cancelled, its row is given up, and its slot is free at the next step. If a part of the sampler raises
    an exception, all rows at work and all waiting prompts fail. The engine then goes on with later prompts.

    Use it as a context manager, or call `close`.
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        self._asked: deque[tuple[str, Any, Any]] = deque()
        self._futures: dict[int, Future[Row]] = {}
        self._wake, self._closed = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="mdmkit-engine", daemon=True)
        self._thread.start()

    async def generate(self, prompt: Prompt | Encoded, timeout: float | None = None) -> Row:
        """Decode one prompt, together with the prompts of other callers.

        Args:
            prompt: the prompt, or the result of `Engine.encode`.
            timeout: seconds from the admission after which the row is given up.

        Raises:
            MdmkitError: the prompt cannot be encoded or decoded, it ran out of time, or the engine is closed.
        """
        from concurrent.futures import Future

        if self._closed:
            raise MdmkitError("the engine is closed: no prompt can be admitted any more.")
        future: Future[Row] = Future()
        self._asked.append(("admit", (prompt, timeout), future))
        self._wake.set()
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._asked.append(("cancel", None, future))
            self._wake.set()
            raise

    def close(self) -> None:
        """Wait until all admitted rows have ended, then stop the thread."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    def __enter__(self) -> AsyncEngine:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            self._take_asked()
            if self.engine.busy:
                self._step()
            elif self._closed and not self._asked:
                return
            elif not self._asked:
                self._wake.wait()
                self._wake.clear()

    def _take_asked(self) -> None:
        while self._asked:
            what, given, future = self._asked.popleft()
            if what == "admit":
                self._admit(given[0], given[1], future)
            else:
                for id_ in [id_ for id_, known in self._futures.items() if known is future]:
                    self.engine.cancel(id_)

    def _admit(self, prompt: Prompt | Encoded, timeout: float | None, future: Future[Row]) -> None:
        if future.cancelled():
            return
        try:
            self._futures[self.engine.admit(prompt, timeout)] = future
        except Exception as error:
            future.set_exception(error)

    def _step(self) -> None:
        try:
            ended = self.engine.step()
        except Exception as error:
            self.engine.abandon()
            ended = [Ended(id_, error=_as_own(error)) for id_ in self._futures]
        for each in ended:
            future = self._futures.pop(each.id, None)
            if future is None or not future.set_running_or_notify_cancel():
                continue
            if each.row is not None:
                future.set_result(each.row)
            else:
                future.set_exception(each.error or MdmkitError("the row was given up."))


def _as_own(error: Exception) -> MdmkitError:
    if isinstance(error, MdmkitError):
        return error
    return MdmkitError(f"the engine failed: {type(error).__name__}: {' '.join(str(error).split())}")
