"""Run an untrusted Python program, and find out if it runs to its end."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from mdmkit import MdmkitError
from mdmkit_tasks.judges.contained import SEALED


@dataclass(frozen=True)
class Limits:
    """The resources that a program may use.

    Args:
        seconds: wall-clock time, and CPU time.
        memory: bytes of address space.
        processes: at once, threads included.
        disk: bytes of files; they are in memory, and are lost afterwards.
    """

    seconds: float = 5.0
    memory: int = 1 << 30
    processes: int = 32
    disk: int = 32 << 20


@dataclass(frozen=True)
class Outcome:
    """True if the program ran to its end; else `why` it did not: the exception, `timeout`, or `ended early`."""

    passed: bool
    why: str = ""


def run(program: str, limits: Limits = Limits()) -> Outcome:
    """Run a program in its own namespaces, with limits (see `mdmkit_tasks.judges.contained`).

    It sees the standard library and an empty directory. It has no network and no rights, and can change nothing
    outside. Its output does not matter, also on standard error: it passes if it runs to its end.

    Raises:
        MdmkitError: this system has no such sandbox; the program was not run.
    """
    token = secrets.token_hex(16)
    line = [sys.executable, "-I", "-S", str(Path(__file__).with_name("contained.py")), json.dumps(asdict(limits))]
    asked = json.dumps({"program": program, "token": token}).encode()
    # A file, not a pipe, because the size of a file is limited.
    with tempfile.TemporaryFile() as out:
        try:
            done = subprocess.run(
                line, input=asked, stdout=out, stderr=subprocess.PIPE, timeout=limits.seconds + 10,
                start_new_session=True, cwd="/",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Outcome(False, "timeout")
        out.seek(0)
        said = out.read(1000).decode(errors="replace")
    if done.returncode == SEALED:
        raise MdmkitError(
            "answers that are programs run only in a sandbox, and this system has none "
            f"({done.stderr.decode(errors='replace').strip()}). It needs Linux 5.12 or newer with namespaces: allow "
            "user namespaces (kernel.unprivileged_userns_clone=1), or run as root."
        )
    if done.returncode == 124:
        return Outcome(False, "timeout")
    return Outcome(said == token, "" if said == token else said or "ended early")


@cache
def require() -> None:
    """Try the sandbox once.

    Raises:
        MdmkitError: this system has none.
    """
    outcome = run("pass", Limits(seconds=30))
    if not outcome.passed:
        raise MdmkitError(f"the sandbox for answers that are programs does not work here: {outcome.why}.")
