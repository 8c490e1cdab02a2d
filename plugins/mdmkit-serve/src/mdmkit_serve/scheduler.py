"""The engine thread, and what passes between it and the event loop: jobs one way, events the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mdmkit_serve.crew import Crew, Limits
from mdmkit_serve.job import Answer, Event, Failed, Job

if TYPE_CHECKING:
    from mdmkit import Backbone
    from mdmkit_serve.metrics import Metrics


class Full(Exception):
    """The queue has no room."""


class Closed(Exception):
    """No request is taken any more. Its text says why."""


class Scheduler:
    """Decode the jobs of all requests in one thread.

    What happens to the rows is in `Crew`; here are the thread, and what passes between it and the event loop.
    """

    def __init__(self, backbone: Backbone, limits: Limits, metrics: Metrics):
        self.backbone, self.limits, self.metrics = backbone, limits, metrics
        self.crew = Crew(backbone, limits, metrics, self._tell, self._wake_up)
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._submitted: deque[Job] = deque()
        self._given_up: deque[Job] = deque()
        self._told: list[tuple[Job, Event]] = []
        self._open: set[Job] = set()  # taken on, and neither answered nor given up
        self._number = 0
        self._refusal: str | None = None
        self.broken = False  # True if the thread has ended because of an error
        self._thread = threading.Thread(target=self._run, name="mdmkit-serve-engine", daemon=True)

    # -- for the event loop ------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def submit(self, jobs: list[Job]) -> None:
        """Take on the rows of a request: all of them or none.

        Raises:
            Full: the queue has no room for them.
            Closed: the server is about to end.
        """
        with self._lock:
            if self._refusal is not None:
                raise Closed(self._refusal)
            if len(self._open) + len(jobs) > self.limits.queue + self.limits.slots:
                raise Full
            self._open.update(jobs)
            for job in jobs:
                self._number += 1
                job.number = self._number
            self._submitted += jobs
        self._wake.set()

    def give_up(self, jobs: Iterable[Job]) -> None:
        """Nobody waits for these jobs any more; their slots are free at the next step."""
        left = [job for job in jobs if not job.over]
        for job in left:
            job.over = True
        if left:
            with self._lock:
                self._given_up += left
            self._wake.set()

    def close(self, why: str = "the server is about to end, and takes no more requests.") -> None:
        """Take no more requests. What was taken on is answered."""
        with self._lock:
            self._refusal = self._refusal or why
        self._wake.set()

    @property
    def closed(self) -> str | None:
        """Why no request is taken any more; None while they are."""
        return self._refusal

    @property
    def most(self) -> int:
        """Rows that are decoded together; fewer than the slots after memory was too small."""
        return self.crew.most

    @property
    def held(self) -> int:
        """Bytes of finished blocks that are kept."""
        return 0 if self.crew.kept is None else self.crew.kept.held

    @property
    def waiting(self) -> int:
        """Rows that wait for a slot."""
        return max(0, len(self._open) - self.working)

    @property
    def working(self) -> int:
        """Rows in the engines."""
        return sum(len(running.jobs) for running in list(self.crew.running.values()))

    @property
    def samplers(self) -> int:
        """Samplers with rows in an engine."""
        return sum(bool(running.jobs) for running in list(self.crew.running.values()))

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended."""
        self._thread.join(timeout)

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        why = "the server has ended."
        try:
            while self._turn():
                self._deliver()
        except BaseException as error:  # also SystemExit: otherwise every request would wait for ever
            self.broken = True
            why = f"the engine has ended: {type(error).__name__}. Start the server again."
            self.metrics.note(f"The engine thread has ended: {type(error).__name__}: {error}")
        finally:
            self.close(why)
            self.crew.checking.close()
            for job in [*self._submitted, *self.crew.checking.jobs, *self.crew.waiting, *self.crew.jobs]:
                self.crew.fail(job, Failed(why, 503))
            self._deliver()

    def _turn(self) -> bool:
        """Do what was asked, then one step of one sampler. False: the server is closed, and all is done."""
        while self._given_up:
            job = self._given_up.popleft()
            self.crew.forget(job)
            self._end(job, "given up")
        while self._submitted:
            job = self._submitted.popleft()
            if not job.over:
                self.crew.read(job)
        self.crew.take_checked()
        self.crew.enforce_deadlines()
        self.crew.admit()
        return self.crew.step() or self._rest()

    def _rest(self) -> bool:
        with self._lock:
            checking = self.crew.checking
            if self._submitted or self._given_up or self.crew.waiting or checking.any_ended:
                return True
            if self._refusal is not None and not checking.jobs:
                return False
            self._wake.clear()
        self._deliver()
        self._wake.wait()
        return True

    def _wake_up(self) -> None:
        with self._lock:  # so that it is not lost between a look for work and the beginning of the wait
            self._wake.set()

    def _end(self, job: Job, how: str) -> None:
        with self._lock:
            self._open.discard(job)
        self.metrics.rows.labels(how).inc()

    def _tell(self, job: Job, event: Event) -> None:
        if isinstance(event, Answer | Failed):
            self._end(job, "done" if isinstance(event, Answer) else "failed")
        self._told.append((job, event))

    def _deliver(self) -> None:
        """Hand the events of this turn to the event loop, all at once."""
        if not self._told:
            return
        told, self._told = self._told, []
        loop = told[0][0].mailbox.loop
        if not loop.is_closed():
            loop.call_soon_threadsafe(_hand_out, told)


def _hand_out(told: list[tuple[Job, Event]]) -> None:
    for job, event in told:
        job.mailbox.put(job.index, event)
