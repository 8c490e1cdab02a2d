"""The running batches of all samplers: rows wait, are admitted, take turns, and begin again if something failed."""

from __future__ import annotations

import gc
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch

from mdmkit import KeptBlocks, MdmkitError
from mdmkit_serve.checking import Checking
from mdmkit_serve.job import Event, Failed, Job
from mdmkit_serve.running import GAVE_OUT, Running

if TYPE_CHECKING:
    from mdmkit import Backbone
    from mdmkit_serve.metrics import Metrics

# Samplers without a row keep their engine, because making one costs more than a step; the oldest of more is dropped.
IDLE_ENGINES = 4


@dataclass(frozen=True)
class Limits:
    """What the server takes on.

    Attributes:
        slots: rows that are decoded together.
        queue: rows that wait for a slot.
        columns: columns of all rows in the engines together; None: no limit.
        timeout: seconds until a request is given up.
        keep: bytes of finished blocks that are kept of rows that have ended; 0: none.
    """

    slots: int = 8
    queue: int = 256
    columns: int | None = None
    timeout: float = 600.0
    keep: int = 0


class Crew:
    """The rows of the server, for the engine thread only.

    Rows are admitted nearly in their order (see `_next`), so no sampler keeps another waiting for a slot. Samplers with
    rows at work take turns, one step each. If memory is too small, all rows of the step begin again, half as many at a
    time; every row that ends well then raises the number by one. If a step fails for all its rows, each of them is
    decoded again alone, so that only the row whose fault it was has an error.

    Args:
        tell: passes an event of a job on.
        wake: wakes the engine thread.

    Attributes:
        most: rows that are decoded together; fewer than the slots after memory was too small.
        kept: finished blocks of rows that have ended, for all samplers; None: they are not kept.
        checking: encoded jobs whose rules are being checked.
        waiting: encoded jobs without a slot.
        running: batch by sampler; the one whose turn is next comes first.
    """

    def __init__(
        self,
        backbone: Backbone,
        limits: Limits,
        metrics: Metrics,
        tell: Callable[[Job, Event], None],
        wake: Callable[[], None],
    ):
        self.backbone, self.limits, self.metrics, self.tell = backbone, limits, metrics, tell
        self.checking = Checking(wake)
        self.most = limits.slots
        self.kept = KeptBlocks(limits.keep) if limits.keep else None
        self.waiting: deque[Job] = deque()
        self.running: OrderedDict[str, Running] = OrderedDict()
        # True: a few more rows than `most` are in the engines, so that one joins within the step in which another ends.
        self._ahead = True
        self._checked = 0.0

    @property
    def jobs(self) -> list[Job]:
        """The jobs in the engines."""
        return [job for running in self.running.values() for job in running.jobs.values()]

    def forget(self, job: Job) -> None:
        """Take a job out of the queue, or out of its engine."""
        if job in self.waiting:
            self.waiting.remove(job)
        for running in self.running.values():
            running.give_up(job)

    def read(self, job: Job) -> None:
        """Encode the prompt of a new job. It then waits, as soon as its rule is checked."""
        try:
            running = self._of(job)
            running.encode(job)
            most = self.limits.columns
            if most is not None and job.takes > most:
                raise MdmkitError(
                    f"this prompt and its answer take {job.takes} columns, and the server has {most} for all rows "
                    "together. Shorten the prompt, or lower max_tokens or the number of particles."
                )
            if job.prompt.rule is not None:
                self.checking.start(job, running.check)
                return
            running.check(job)
        except Exception as error:
            self._refuse(job, error)
        else:
            self._wait(job)

    def take_checked(self) -> None:
        """Let the jobs wait whose rules have been checked."""
        for job, future in self.checking.ended():
            error = future.exception()
            if error is None:
                self._wait(job)
            elif isinstance(error, Exception):
                self._refuse(job, error)
            else:
                raise error

    def _wait(self, job: Job) -> None:
        if not job.over:
            self._of(job).begin(job)
            self.waiting.append(job)

    def _refuse(self, job: Job, error: Exception) -> None:
        if isinstance(error, MdmkitError):
            self.fail(job, Failed(str(error), 400))
        else:
            self.fail(job, Failed(f"the prompt cannot be encoded: {_short(error)}", 500))

    def fail(self, job: Job, failed: Failed) -> None:
        """Give a job its error, unless it is over."""
        if not job.over:
            job.over = True
            self.tell(job, failed)

    def _of(self, job: Job) -> Running:
        """The running batch for a job; a new one, if there is none with its sampler."""
        if job.batch not in self.running:
            idle = [key for key, running in self.running.items() if not running.jobs]
            for key in idle[: max(0, len(idle) + 1 - IDLE_ENGINES)]:
                del self.running[key]
            sampler = job.chosen.sampler
            self.running[job.batch] = Running(sampler, self.backbone, self.limits.slots, self.tell, self.kept)
        return self.running[job.batch]

    def enforce_deadlines(self) -> None:
        """Give up the jobs whose time is over."""
        now = time.monotonic()
        if now - self._checked < 0.05:
            return
        self._checked = now
        late = [job for job in self.waiting if job.deadline <= now]
        for job in late:
            self.waiting.remove(job)
        for running in self.running.values():
            gone = [job for job in running.jobs.values() if job.deadline <= now]
            for job in gone:
                running.give_up(job)
            late += gone
        for job in late:
            self.fail(job, Failed(GAVE_OUT.format(self.limits.timeout), 504))

    def admit(self) -> None:
        """Give waiting jobs to their engines while there is room."""
        inside = self.jobs
        rows, columns = len(inside), sum(job.takes for job in inside)
        most = self.most + (max(1, self.most // 4) if self._ahead else 0)
        while self.waiting:
            if rows and rows >= most:
                return
            job = self._next()
            if rows and self.limits.columns is not None and columns + job.takes > self.limits.columns:
                return
            place = self.waiting.index(job)
            for passed in islice(self.waiting, place):
                passed.passed += 1
            del self.waiting[place]
            try:
                self._of(job).admit(job)
            except Exception as error:  # it was checked when it was encoded, so this is not the request's fault
                self.fail(job, Failed(f"the row cannot begin: {_short(error)}", 500))
                continue
            rows, columns = rows + 1, columns + job.takes
            self.metrics.waited.observe(time.monotonic() - job.arrived)

    def _next(self) -> Job:
        """The waiting job whose turn it is.

        It is the longest of the first few: if a long row comes last, the other slots stand idle until it ends. A row
        that as many others as there are slots have passed goes before all of these, so none waits for ever.
        """
        some = list(islice(self.waiting, 2 * self.limits.slots))
        due = next((job for job in some if job.passed >= self.limits.slots), None)
        return due or max(some, key=lambda job: job.masks)

    def step(self) -> bool:
        """Take one step of the sampler whose turn it is. False: no row is at work."""
        key = next((key for key, running in self.running.items() if running.jobs), None)
        if key is None:
            return False
        running = self.running[key]
        self.running.move_to_end(key)
        before, calls = len(running.jobs), running.engine.calls
        try:
            running.step()
        except torch.OutOfMemoryError as error:
            self._make_smaller(key, error.with_traceback(None))  # which keeps the step's tensors alive
        except Exception as error:
            self._try_alone(running, error)
        else:
            self.metrics.count_step(running.engine.calls - calls)
            if self.kept is not None:
                self.metrics.count_reuse(self.kept.rows, self.kept.columns)
            if ended := before - len(running.jobs):
                self.most = min(self.limits.slots, self.most + ended)
                self._ahead = self.most == self.limits.slots
        return True

    def _make_smaller(self, key: str, error: Exception) -> None:
        """Memory was too small: all rows of the step begin again.

        If finished blocks were kept, these are given up, and as many rows go on; otherwise half as many at a time.
        """
        inside = sum(len(running.engine.at_work) for running in self.running.values())
        failed = self.running[key]
        again = failed.take_back(waiting=False)
        # What waited in this engine, and was not at work.
        behind = failed.take_back(waiting=True)
        for idle in [key for key, other in self.running.items() if not other.jobs]:
            del self.running[idle]
        gave_up = self.kept is not None and self.kept.shrink()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.kept is not None and gave_up:
            self.metrics.out_of_memory.inc()
            self.metrics.note(f"Out of memory: at most {self.kept.most} bytes of keys are kept from here on.")
            self._again([*again, *behind])
            return
        self._ahead = False
        if inside <= 1:
            for job in again:
                self.fail(job, Failed(f"memory is too small for this request, even alone: {_short(error)}", 507))
            self._again(behind)
            return
        self.most = max(1, inside // 2)
        self.metrics.out_of_memory.inc()
        self.metrics.note(f"Out of memory with {inside} rows: {self.most} at a time from here on.")
        self._again([*again, *behind])

    def _try_alone(self, running: Running, error: Exception) -> None:
        """A step failed for all its rows: find out whose fault it was."""
        again = running.take_back(waiting=False)
        if len(again) == 1:
            said = str(error) if isinstance(error, MdmkitError) else f"the model or a part failed: {_short(error)}"
            self.fail(again[0], Failed(said, 500))
            self.metrics.note(said)
            return
        for job in again:
            job.alone = True
        self._again(again)

    def _again(self, jobs: list[Job]) -> None:
        """Let jobs wait again, at their old places."""
        self.waiting = deque(sorted([*self.waiting, *jobs], key=lambda job: job.number))


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
