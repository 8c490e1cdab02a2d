"""The engine thread: it encodes and admits rows, lets the samplers take turns, and tells requests what happens."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import MdmkitError
from mdmkit_serve.job import Answer, Event, Failed, Job
from mdmkit_serve.running import GAVE_OUT, Running

if TYPE_CHECKING:
    from mdmkit import Backbone
    from mdmkit_serve.metrics import Metrics

# Samplers without a row keep their engine, because making one costs more than a step; the oldest of more is dropped.
IDLE_ENGINES = 4


class Full(Exception):
    """The queue has no room."""


class Closed(Exception):
    """No request is taken any more. Its text says why."""


@dataclass(frozen=True)
class Limits:
    """What the server takes on.

    Attributes:
        slots: rows that are decoded together.
        queue: rows that wait for a slot.
        columns: columns of all rows in the engines together; None: no limit.
        timeout: seconds until a request is given up.
    """

    slots: int = 8
    queue: int = 256
    columns: int | None = None
    timeout: float = 600.0


class Scheduler:
    """Decode the jobs of all requests in one thread.

    Jobs are admitted first come, first served, so no sampler keeps another waiting for a slot. Samplers with rows at
    work take turns, one step each. If memory is too small, all rows of the step begin again, half as many at a time;
    every row that ends well then raises the number by one. If a step fails for all its rows, each of them is decoded
    again alone, so that only the row whose fault it was has an error.
    """

    def __init__(self, backbone: Backbone, limits: Limits, metrics: Metrics):
        self.backbone, self.limits, self.metrics = backbone, limits, metrics
        self.most = limits.slots  # rows in the engines together; fewer after memory was too small
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._submitted: deque[Job] = deque()
        self._given_up: deque[Job] = deque()
        self._waiting: deque[Job] = deque()
        self._running: OrderedDict[str, Running] = OrderedDict()
        self._told: list[tuple[Job, Event]] = []
        self._open: set[Job] = set()  # taken on, and neither answered nor given up
        self._number = 0
        self._refusal: str | None = None
        self._checked = 0.0
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
    def waiting(self) -> int:
        """Rows that wait for a slot."""
        return max(0, len(self._open) - self.working)

    @property
    def working(self) -> int:
        """Rows in the engines."""
        return sum(len(running.jobs) for running in list(self._running.values()))

    @property
    def samplers(self) -> int:
        """Samplers with rows in an engine."""
        return sum(bool(running.jobs) for running in list(self._running.values()))

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
            jobs = [*self._submitted, *self._waiting]
            jobs += [job for running in self._running.values() for job in running.jobs.values()]
            for job in jobs:
                if not job.over:
                    job.over = True
                    self._tell(job, Failed(why, 503))
            self._deliver()

    def _turn(self) -> bool:
        """Do what was asked, then one step of one sampler. False: the server is closed, and all is done."""
        self._forget()
        self._read()
        self._enforce_deadlines()
        self._admit()
        busy = next((key for key, running in self._running.items() if running.jobs), None)
        if busy is None:
            return self._rest()
        running = self._running[busy]
        self._running.move_to_end(busy)  # the others' turn is next
        self._step(busy, running)
        return True

    def _rest(self) -> bool:
        with self._lock:
            if self._submitted or self._given_up or self._waiting:
                return True
            if self._refusal is not None:
                return False
            self._wake.clear()
        self._deliver()
        self._wake.wait()
        return True

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

    def _forget(self) -> None:
        """Take the jobs that nobody waits for out of the engines and the queue."""
        while self._given_up:
            job = self._given_up.popleft()
            if job in self._waiting:
                self._waiting.remove(job)
            for running in self._running.values():
                running.give_up(job)
            self._end(job, "given up")

    def _read(self) -> None:
        """Encode the prompts of new jobs. They then wait."""
        while self._submitted:
            job = self._submitted.popleft()
            if job.over:
                continue
            try:
                running = self._of(job)
                running.encode(job)
                most = self.limits.columns
                if most is not None and job.takes > most:
                    raise MdmkitError(
                        f"this prompt and its answer take {job.takes} columns, and the server has {most} for all rows "
                        "together. Shorten the prompt, or lower max_tokens or the number of particles."
                    )
            except MdmkitError as error:
                self._fail(job, Failed(str(error), 400))
            except Exception as error:
                self._fail(job, Failed(f"the prompt cannot be encoded: {_short(error)}", 500))
            else:
                self._waiting.append(job)

    def _fail(self, job: Job, failed: Failed) -> None:
        if not job.over:
            job.over = True
            self._tell(job, failed)

    def _of(self, job: Job) -> Running:
        """The running batch for a job; a new one, if there is none with its sampler."""
        if job.batch not in self._running:
            idle = [key for key, running in self._running.items() if not running.jobs]
            for key in idle[: max(0, len(idle) + 1 - IDLE_ENGINES)]:
                del self._running[key]
            sampler = job.chosen.sampler
            self._running[job.batch] = Running(sampler, self.backbone, self.limits.slots, self._tell)
        return self._running[job.batch]

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        if now - self._checked < 0.05:
            return
        self._checked = now
        late = [job for job in self._waiting if job.deadline <= now]
        for job in late:
            self._waiting.remove(job)
        for running in self._running.values():
            gone = [job for job in running.jobs.values() if job.deadline <= now]
            for job in gone:
                running.give_up(job)
            late += gone
        for job in late:
            self._fail(job, Failed(GAVE_OUT.format(self.limits.timeout), 504))

    def _admit(self) -> None:
        """Give waiting jobs to their engines, first come, first served, while there is room."""
        inside = [job for running in self._running.values() for job in running.jobs.values()]
        rows, columns = len(inside), sum(job.takes for job in inside)
        # A few more than there are slots: a row that ends within a step leaves its slot to the next one at once.
        most = self.most + (max(1, self.most // 4) if self.most == self.limits.slots else 0)
        while self._waiting:
            job = self._waiting[0]
            if rows and rows >= most:
                return
            if rows and self.limits.columns is not None and columns + job.takes > self.limits.columns:
                return
            self._waiting.popleft()
            self._of(job).admit(job)
            rows, columns = rows + 1, columns + job.takes
            self.metrics.waited.observe(time.monotonic() - job.arrived)

    def _step(self, key: str, running: Running) -> None:
        before, calls = len(running.jobs), running.engine.calls
        try:
            running.step()
        except torch.OutOfMemoryError as error:
            trouble: Exception = error.with_traceback(None)  # which keeps the step's tensors alive
        except Exception as error:
            trouble = error
        else:
            self.metrics.count_step(running.engine.calls - calls)
            ended = before - len(running.jobs)
            self.most = min(self.limits.slots, self.most + ended)
            return
        if isinstance(trouble, torch.OutOfMemoryError):
            self._make_smaller(key, running, trouble)
        else:
            self._try_alone(running, trouble)

    def _make_smaller(self, key: str, running: Running, error: Exception) -> None:
        """Memory was too small: all rows of the step begin again, half as many at a time."""
        inside = self.working
        again = running.take_back(waiting=True)
        del self._running[key]
        for idle in [key for key, other in self._running.items() if not other.jobs]:
            del self._running[idle]
        _free_memory()
        if inside <= 1:
            for job in again:
                self._fail(job, Failed(f"memory is too small for this request, even alone: {_short(error)}", 507))
            return
        self.most = max(1, inside // 2)
        self.metrics.out_of_memory.inc()
        self.metrics.note(f"Out of memory with {inside} rows: {self.most} at a time from here on.")
        self._again(again)

    def _try_alone(self, running: Running, error: Exception) -> None:
        """A step failed for all its rows: find out whose fault it was."""
        again = running.take_back(waiting=False)
        if len(again) == 1:
            said = str(error) if isinstance(error, MdmkitError) else f"the model or a part failed: {_short(error)}"
            self._fail(again[0], Failed(said, 500))
            self.metrics.note(said)
            return
        for job in again:
            job.alone = True
        self._again(again)

    def _again(self, jobs: list[Job]) -> None:
        """Let jobs wait again, at their old places."""
        self._waiting = deque(sorted([*self._waiting, *jobs], key=lambda job: job.number))


def _hand_out(told: list[tuple[Job, Event]]) -> None:
    for job, event in told:
        job.mailbox.put(job.index, event)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _free_memory() -> None:
    import gc

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
