"""The sandbox: honest programs of every kind pass, wrong ones fail, limits hold, and without a seal nothing is run."""

from __future__ import annotations

import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mdmkit import MdmkitError
from mdmkit_tasks.judges import sandbox, seals
from mdmkit_tasks.judges.sandbox import Limits, run

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed (make system)")

QUICK = Limits(seconds=3)

TEXT = Path(__file__).with_name("honest_programs.txt").read_text(encoding="utf-8")
HONEST = {
    kind: (program, tests)
    for kind, program, tests in re.findall(r"^== (.+)\n((?s:.+?))--\n((?s:.+?))(?=^== |\Z)", TEXT, re.M)
}


@pytest.mark.parametrize("kind", HONEST)
def test_an_honest_program_passes(kind: str) -> None:
    program, tests = HONEST[kind]
    outcome = run(program, tests, name="sum" if "sum" in tests else "", limits=QUICK)
    assert outcome.passed, outcome.why


def test_the_table_is_long_enough() -> None:
    assert len(HONEST) >= 40


@pytest.mark.parametrize(
    ("program", "tests", "why"),
    [
        ("def f(x):\n    return x", "assert f(1) == 2", "AssertionError"),
        ("def g(x):\n    return x", "assert f(1) == 1", "NameError"),
        ("def f(x) return x", "assert f(1) == 1", "SyntaxError"),
        ("def f(x):\n    return [x]", "assert f(1) == (1,)", "AssertionError"),
        ("class A:\n    pass\ndef f(x):\n    return A()", "assert f(1) == 1", "AssertionError"),
        ("def f(x):\n    return 1 / 0", "assert f(1) == 1", "ZeroDivisionError"),
        ("class Odd(Exception):\n    pass\ndef f(x):\n    raise Odd('no')", "assert f(1) == 1", "Odd: no"),
        ("import numpy", "", "ModuleNotFoundError"),  # only the standard library is there
        ("def f(x):\n    return x(1)", "assert f(lambda y: y) == 1", "only plain data can cross"),
        ("x = bytearray(3 << 30)", "", "MemoryError"),
        ("open('x', 'wb').write(b'a' * (64 << 20))", "", "OSError"),
        ("import os, time\nfor _ in range(4):\n    os.fork()\nx = b'a' * (200 << 20)\ntime.sleep(9)", "", "memory"),
        ("import os\nos.memfd_create('x')", "", "PermissionError"),  # memory that belongs to no process
        ("import os\nos._exit(93)", "", "the program ended early"),
    ],
)
def test_why_a_program_fails(program: str, tests: str, why: str) -> None:
    outcome = run(program, tests, limits=QUICK)
    assert not outcome.passed and why in outcome.why


@pytest.mark.parametrize("endless", ["while True: pass", "import time\ntime.sleep(60)"])
def test_a_program_without_end_is_stopped(endless: str) -> None:
    began = time.monotonic()
    assert run(endless, limits=Limits(seconds=1)).why == "timeout"
    assert time.monotonic() - began < 8


def test_a_program_sees_only_python_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    program = "import os\ndef f():\n    return os.listdir('.'), dict(os.environ), os.getuid(), os.listdir('/etc')"
    tests = (
        "folder, environment, user, settings = f()\nassert folder == []\nassert 'A_SECRET' not in environment\n"
        "assert user >= 65534\nassert set(settings) <= {'ld.so.cache'}"
    )
    outcome = run(program, tests, limits=QUICK)
    assert outcome.passed, outcome.why


@pytest.mark.parametrize("by", ["bwrap", "own"])
def test_a_program_sees_no_keys_of_the_user(by: str) -> None:
    program = (
        "import ctypes, errno, os, platform\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "calls = {'x86_64': (248, 249, 250), 'aarch64': (217, 218, 219)}[platform.machine()]\n"
        "def read(name):\n"
        "    try:\n        return open(f'/proc/{name}').read()\n    except OSError:\n        return ''\n"
        "def f():\n    files = [read(name) for name in ('keys', 'key-users')]\n"
        "    return [libc.syscall(n, 0, 0, 0, 0, 0) < 0 and errno.errorcode[ctypes.get_errno()] for n in calls], files"
    )
    tests = "calls, files = f()\nassert calls == ['EPERM'] * 3, calls\nassert not any(files), files"
    outcome = run(program, tests, limits=QUICK, by=by)
    assert outcome.passed, outcome.why


def test_a_program_that_starts_many_processes_stops_no_other() -> None:
    many = "import os, time\ntry:\n    while os.fork():\n        pass\nexcept OSError:\n    pass\ntime.sleep(9)"
    thread = (
        "import threading\ndef f():\n    t = threading.Thread(target=int)\n    t.start()\n    t.join()\n    return 1"
    )
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run, many, limits=QUICK)
        time.sleep(1.0)
        assert run(thread, "assert f() == 1", limits=QUICK).passed
        assert first.result().why == "timeout"


def test_the_order_of_sets_is_the_same_every_time() -> None:
    said = {run("raise ValueError(list({'a', 'b', 'c', 'd', 'e', 'f'}))", limits=QUICK).why for _ in range(4)}
    assert len(said) == 1


def _children() -> set[str]:
    """The processes that this one has started, dead ones that nobody waited for included."""
    return {pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}


def test_a_sandbox_leaves_no_descriptor_and_no_process() -> None:
    run("pass", limits=QUICK)
    before, children = len(os.listdir("/proc/self/fd")), _children()
    for program in ("pass", "import os; os._exit(1)", "import os; os.kill(0, 19)"):
        run(program, "assert f()", limits=Limits(seconds=0.5))
    assert len(os.listdir("/proc/self/fd")) == before
    assert _children() == children


@pytest.mark.parametrize("by", ["bwrap", "own"])
def test_all_processes_can_be_ended_without_the_supervisor(by: str) -> None:
    channel = os.pipe()
    with sandbox._Side("answer", {"program": [["while True: pass", False]]}, channel, QUICK, by) as side:
        side.wait_sealed()
        side.kill()
        assert side.line(0.0) == b""  # nobody holds standard output any more
    for fd in channel:
        os.close(fd)


def test_the_supervisor_comes_first_where_it_may() -> None:
    program = "import os\ndef f():\n    return [os.getpriority(os.PRIO_PROCESS, one) for one in (1, 0)]"
    program += "\ndef together():\n    return os.getsid(1) == os.getsid(0) or os.getpgid(1) == os.getpgid(0)"
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    first = -10 if seals._may_raise_priority() and os.geteuid() == 0 else usual
    outcome = run(program, f"assert f() == [{first}, {usual}]\nassert not together()", limits=QUICK)
    assert outcome.passed, outcome.why


def test_the_older_seal_is_there_when_it_is_asked_for() -> None:
    assert run("def f(x):\n    return x", "assert f(1) == 1", limits=QUICK, by="own").passed
    assert run("import os\nos._exit(93)", limits=QUICK, by="own").why == "the program ended early"
    assert not run("open('/etc/passwd', 'a')", limits=QUICK, by="own").passed
    with pytest.raises(MdmkitError, match=r"unknown seal .*'bwarp'. Did you mean 'bwrap'"):
        run("pass", by="bwarp")


def test_without_bubblewrap_no_program_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seals.shutil, "which", lambda name: None)
    with pytest.raises(MdmkitError, match=r"no `bwrap`.*apt install bubblewrap.*seal=own"):
        run("pass")


def test_where_no_namespace_can_be_made_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = ["sh", "-c", "echo 'bwrap: No permissions to create new namespace' >&2; exit 1"]
    monkeypatch.setattr(sandbox, "seal", lambda name: lambda asked: ["/bin/sh", *refused[1:]])
    with pytest.raises(MdmkitError, match=r"does not work on this system \(bwrap: No permissions.*unprivileged_userns"):
        run("pass")
