"""Judge an untrusted Python program: it runs sealed, and its tests run in a second sealed process.

The tests call the program over a pipe, and only plain data crosses (see `mdmkit_tasks.judges.sealed.crossing`). The
verdict is written by the process of the tests, which the program cannot reach.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, astuple, dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from mdmkit import MdmkitError
from mdmkit_tasks.judges.filter import syscall_filter
from mdmkit_tasks.judges.sealed.supervising import OVER_MEMORY, SEALED
from mdmkit_tasks.judges.seals import seal

START = 30.0  # seconds that a loaded machine may take to start a sealed process
END, LATE = 5.0, 0.5  # seconds that it may take to end; less if its time is over, since nobody asks for its code
VERDICT = 64 << 10  # bytes that a verdict may have
# Users that nobody is, for mdmkit as root. Processes are counted by user, so each sealed process gets one of its own.
USERS, SHARE = 1 << 24, 64
_started = itertools.count()


@dataclass(frozen=True)
class Limits:
    """The resources that a program may use. Its tests, in their own process, may use as much.

    Args:
        seconds: wall-clock time, and CPU time of each process.
        memory: bytes, of all its processes together, with its files and the buffers of its sockets; also the address
            space of each process.
        processes: at once, threads included.
        disk: bytes of files; they are in memory, and are lost afterwards.
    """

    seconds: float = 5.0
    memory: int = 1 << 30
    processes: int = 32
    disk: int = 32 << 20


@dataclass(frozen=True)
class Part:
    """A part of a program. If it `may_fail`, its statements that fail are passed over."""

    source: str
    may_fail: bool = False


@dataclass(frozen=True)
class Outcome:
    """True if all tests passed; else `why` not: the exception, `timeout`, `memory`, or that the program ended early."""

    passed: bool
    why: str = ""


def run(
    program: str | Sequence[Part],
    tests: str = "",
    *,
    name: str = "",
    head: str = "",
    limits: Limits = Limits(),
    by: str = "bwrap",
) -> Outcome:
    """Run a program, then its tests.

    The program sees the standard library and an empty directory. It has no network and no rights, and can change
    nothing outside. Its output does not matter, also on standard error.

    Args:
        program: its source, or its parts, which run one after the other in one namespace.
        tests: asserts. A name that they do not define is looked up in the program.
        name: a name that is always looked up in the program, also if it is one of Python's own.
        head: code that the tests may use, such as the helpers that a prompt defines.
        by: the seal, `bwrap` or `own`.

    Raises:
        MdmkitError: this system has no such seal; the program was not run.
    """
    parts = [astuple(part) for part in ([Part(program)] if isinstance(program, str) else program)]
    asked = {"tests": tests, "name": name, "head": head}
    try:
        with ExitStack() as stack:
            calls, answers = os.pipe(), os.pipe()
            try:
                answer = stack.enter_context(_Side("answer", {"program": parts}, (calls[0], answers[1]), limits, by))
                judge = stack.enter_context(_Side("tests", asked, (answers[0], calls[1]), limits, by))
            finally:
                for fd in (*calls, *answers):
                    os.close(fd)
            answer.wait_sealed()
            judge.wait_sealed()
            said = judge.line(limits.seconds)
    except TimeoutError:
        return Outcome(False, "timeout")
    if OVER_MEMORY in (answer.code, judge.code):
        return Outcome(False, "memory")
    if not said:
        return Outcome(False, "the tests ended early")
    verdict = json.loads(said)
    return Outcome(verdict["passed"] is True, verdict.get("why", ""))


@cache
def require(by: str = "bwrap") -> None:
    """Try the sandbox once.

    Raises:
        MdmkitError: this system has none.
    """
    outcome = run("def one():\n    return 1", "assert one() == 1", limits=Limits(seconds=START), by=by)
    if not outcome.passed:
        raise MdmkitError(f"the sandbox for answers that are programs does not work here: {outcome.why}.")


class _Side:
    """One sealed process, and all that it starts. They end when the block is left."""

    def __init__(self, side: str, job: dict[str, Any], channel: tuple[int, int], limits: Limits, by: str):
        self.by, self.code = by, 0
        user = USERS + os.getpid() * SHARE + next(_started) % SHARE
        start, denied = seal(by), syscall_filter()
        reading, writing = os.pipe()
        os.write(writing, denied)
        os.close(writing)
        asked = {"side": side, "channel": channel, "filter": reading, "user": user, **asdict(limits)}
        try:
            self.process = subprocess.Popen(
                start(asked), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                pass_fds=(*channel, reading), start_new_session=True, cwd="/", env={},
            )  # fmt: skip
        finally:
            os.close(reading)
        with suppress(BrokenPipeError), self._file("stdin") as file:  # `wait_sealed` says why it has ended
            file.write(json.dumps(job).encode())

    def _file(self, name: str) -> IO[bytes]:
        file: IO[bytes] = getattr(self.process, name)
        return file

    def wait_sealed(self) -> None:
        try:
            said = self.line(START)
        except TimeoutError:
            said = b""
        if said != SEALED:
            self.process.kill()
            why = " ".join(self._file("stderr").read(2000).decode(errors="replace").split())
            raise MdmkitError(
                f"answers that are programs run only in a sandbox, and seal {self.by!r} does not work on this system "
                f"({why or 'it did not start'}). It needs Linux with namespaces: allow user namespaces "
                "(kernel.unprivileged_userns_clone=1; Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0), or run "
                "as root with the right to make namespaces."
            )

    def line(self, seconds: float) -> bytes:
        """The next line of standard output; empty if it is closed.

        Raises:
            TimeoutError: there is none after so many seconds.
        """
        fd, end, said = self._file("stdout").fileno(), time.monotonic() + seconds, b""
        while not said.endswith(b"\n") and len(said) < VERDICT:
            if not select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError
            if not (more := os.read(fd, 1)):
                break
            said += more
        return said

    def kill(self) -> None:
        """End all processes at once, also if the supervisor gets no time to end: the kernel ends them with it."""
        for pid in self._started():
            with suppress(OSError):
                held = os.pidfd_open(pid)
                if pid in self._started():  # it is still the same process
                    signal.pidfd_send_signal(held, signal.SIGKILL)
                os.close(held)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(LATE)
        self.process.kill()

    def _started(self) -> list[int]:
        """The supervisor, which is the only process that the seal has started."""
        with suppress(OSError):
            pid = self.process.pid
            return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, error: type[BaseException] | None, *more: object) -> None:
        self._file("stdout").close()  # the supervisor ends, and with it all other processes
        try:
            self.code = self.process.wait(END if error is None else LATE)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        self._file("stderr").close()
