"""Hostile programs: none touches anything outside its seal, none passes, and none stops the evaluation."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mdmkit_tasks.judges.sandbox import Limits, Outcome, run

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed (make system)")

TEXT = Path(__file__).with_name("hostile_programs.txt").read_text()
PROGRAMS = re.findall(r"^== (\w+): (.+)\n((?:(?!== ).*\n)+)", TEXT, re.M)
CANARIES = ("secret", "file", "socket", "port", "child", "process")
SECRET = "a canary in a mine"
TESTS = "assert f(2) == 4\nassert f(3) == 9"


@dataclass
class Canaries:
    """Things that a program without a seal can touch, in a folder that everybody may change."""

    folder: Path
    secret: Path
    mark: str
    port: int
    victim: subprocess.Popen[bytes]
    listening: list[socket.socket] = field(default_factory=list)

    @property
    def head(self) -> str:
        """The names that the programs use."""
        named = {
            "SECRET": str(self.secret), "FOLDER": str(self.folder), "SOCKET": str(self.secret.parent / "socket"),
            "PORT": self.port, "VICTIM": self.victim.pid, "MARK": self.mark,
        }  # fmt: skip
        return "".join(f"{name} = {value!r}\n" for name, value in named.items())

    def touched(self, said: str) -> list[str]:
        """The kinds of canary that were touched; `said` is what came out of the program."""
        found = ["secret"] if SECRET in said else []
        if not self.folder.exists() or [(p.name, p.read_text()) for p in self.folder.iterdir()] != [
            ("canary", "alive")
        ]:
            found.append("file")
        for listener, kind in zip(self.listening, ("socket", "socket", "port"), strict=True):
            with contextlib.suppress(BlockingIOError):
                listener.accept()[0].close()
                found.append(kind)
        found += ["child"] if self.children() else []
        return found + (["process"] if self.victim.poll() is not None else [])

    def children(self) -> list[int]:
        """Processes that gave themselves the mark as their name."""
        found = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if process.name.isdigit() and f"({self.mark}) " in (said := (process / "stat").read_text()):
                    found += [int(process.name)] if ") Z " not in said else []
        return found


@pytest.fixture
def canaries() -> Iterator[Canaries]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, contextlib.ExitStack() as stack:
        folder, secret, mark = Path(name, "open"), Path(name, "secret"), f"canary{os.getpid()}"
        Path(name).chmod(0o777)
        folder.mkdir()
        folder.chmod(0o777)
        (folder / "canary").write_text("alive")
        (folder / "canary").chmod(0o666)
        secret.write_text(SECRET)
        secret.chmod(0o600)
        kinds = ((socket.AF_UNIX, f"{name}/socket"), (socket.AF_UNIX, f"\0{mark}"), (socket.AF_INET, ("127.0.0.1", 0)))
        listening = []
        for family, address in kinds:
            listener = stack.enter_context(socket.socket(family))
            listener.bind(address)
            listener.listen()
            listener.setblocking(False)
            listening.append(listener)
        Path(name, "socket").chmod(0o777)
        victim = subprocess.Popen(["sleep", "60"])
        there = Canaries(folder, secret, mark, listening[-1].getsockname()[1], victim, listening)
        yield there
        victim.kill()
        victim.wait()
        for child in there.children():
            os.kill(child, signal.SIGKILL)
        Path(f"/tmp/linked{mark}").unlink(missing_ok=True)
        Path("/tmp/copied").unlink(missing_ok=True)


def unsealed(program: str) -> str:
    """What a program says that runs as every other program of this user."""
    call = "\nif 'f' in globals():\n    f(2)\n"
    with tempfile.TemporaryFile() as out:  # not a pipe, which a child that lives on would hold open
        subprocess.run([sys.executable, "-c", program + call], stdout=out, stderr=out, timeout=20)
        time.sleep(0.2 if "fork" in program else 0)
        out.seek(0)
        return out.read().decode(errors="replace")


def named(kinds: tuple[str, ...] | None) -> list[object]:
    return [
        pytest.param(kind, program, id=f"{kind}-{how}")
        for kind, how, program in PROGRAMS
        if kinds is None or kind in kinds
    ]


@pytest.mark.parametrize(("kind", "program"), named(CANARIES))
def test_without_a_seal_the_canary_is_touched(kind: str, program: str, canaries: Canaries) -> None:
    assert kind in canaries.touched(unsealed(canaries.head + program))


@pytest.mark.parametrize(("kind", "program"), named(None))
def test_sealed_nothing_is_touched_and_nothing_passes(kind: str, program: str, canaries: Canaries) -> None:
    outcome = run(canaries.head + program, TESTS, name="f", limits=Limits(seconds=1.5))
    assert isinstance(outcome, Outcome) and not outcome.passed
    assert canaries.touched(outcome.why) == []


def test_the_list_is_long_and_attacks_everything() -> None:
    assert len(PROGRAMS) >= 60 and {kind for kind, _, _ in PROGRAMS} > set(CANARIES)
    assert len({how for _, how, _ in PROGRAMS}) >= 55
