"""Check the rules of prompts in threads of their own: tables of a new rule take seconds, and no row waits for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mdmkit_serve.job import Job

# One more takes time from the engine's thread, and memory.
THREADS = 2


class Checking:
    """The jobs whose rules are being checked. All but `_end` is for the engine thread.

    Args:
        wake: wakes the engine thread.

    Attributes:
        jobs: they are being checked, or `ended` has not returned them yet.
    """

    def __init__(self, wake: Callable[[], None]):
        self.jobs: set[Job] = set()
        self._wake = wake
        self._pool = ThreadPoolExecutor(THREADS, "mdmkit-serve-rules")
        self._ended: deque[tuple[Job, Future[None]]] = deque()

    @property
    def any_ended(self) -> bool:
        """True if `ended` would return something."""
        return bool(self._ended)

    def start(self, job: Job, check: Callable[[Job], None]) -> None:
        """Call `check` with a job in one of the threads."""
        self.jobs.add(job)
        self._pool.submit(check, job).add_done_callback(lambda future: self._end(job, future))

    def ended(self) -> list[tuple[Job, Future[None]]]:
        """Return the jobs whose check has ended since the last call; the future holds what it raised."""
        some = [self._ended.popleft() for _ in range(len(self._ended))]
        self.jobs.difference_update(job for job, _ in some)
        return some

    def close(self) -> None:
        """Start no further check."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _end(self, job: Job, future: Future[None]) -> None:
        if not future.cancelled():
            self._ended.append((job, future))
            self._wake()
