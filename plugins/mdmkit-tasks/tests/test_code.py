"""Answers that are programs: found in what a model wrote, run contained, judged by their asserts alone."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdmkit import MdmkitError
from mdmkit_tasks.judges import sandbox
from mdmkit_tasks.judges.code import name_under_test, passes, program
from mdmkit_tasks.judges.sandbox import Limits, run

QUICK = Limits(seconds=2)
HEAD = 'from typing import List\n\n\ndef add(a: int, b: int) -> int:\n    """Add two numbers."""\n'
TESTS = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]

# Answers to "complete this function", with the head above known.
ANSWERS = [
    ("    return a + b", True),
    ("    return a + b\n", True),
    ("\n    return a + b", True),
    ("return a + b", True),
    ("    return a - b", False),
    ("    return a + b\n\n\ndef main():\n    print(add(1", True),  # runs on, and is cut at the next definition
    ("    return a + b\n\nif __name__ == '__main__':\n    add(", True),
    ("    return a + b\n\nprint(add(1, 2", True),
    ("    return a + b\n\nThis adds the numbers.", True),
    ("```python\ndef add(a, b):\n    return a + b\n```", True),
    ("```\ndef add(a, b):\n    return a + b\n```", True),
    ("```py\ndef add(a, b):\n    return a + b\n```\nIt adds.", True),
    ("Sure!\n```python\ndef add(a, b):\n    return a + b", True),  # the fence never closes
    ("```python\ndef add(a, b):\n    return a - b\n```\nNo:\n```python\ndef add(a, b):\n    return a + b\n```", True),
    ("```python\ndef add(a, b):\n    return a + b\n```\nUse it:\n```python\nprint(add(1, 2))\n```", True),
    ("```python\n    return a + b\n```", True),
    ("def add(a, b):\n    return a + b", True),
    ("Here it is.\n\ndef add(a, b):\n    return a + b\n\nI hope that this helps!", True),
    ("def plus(a, b):\n    return a + b\n\ndef add(a, b):\n    return plus(a, b)", True),
    ("import operator\n\ndef add(a, b):\n    return operator.add(a, b)", True),
    ("def add(a: List[int], b: int) -> int:\n    return a + b", True),  # the head's import still holds
    ("```python\nclass A:\n    def add(self, a, b):\n        return a + b\n```", False),
    ("    pass", False),
    ("", False),
    ("    return a +", False),
    ("    import sys\n    sys.exit(0)", False),  # ends well, before any assert
    ("    import os\n    os._exit(0)", False),
    ("    raise SystemExit", False),
    ("    import sys\n    print('warning', file=sys.stderr)\n    return a + b", True),
    ("    import warnings\n    warnings.warn('old')\n    return a + b", True),
    ("    print('adding')\n    return a + b", True),
    ("    return str(a + b)", False),
    ("    return float(a + b)", True),
    ("    while True: pass", False),
    ("    return add(a, b)", False),
    ("    x = input()\n    return a + b", False),  # nothing is there to be read
]


@pytest.mark.parametrize(("answer", "right"), ANSWERS)
def test_humaneval(answer: str, right: bool) -> None:
    assert passes(answer, "add", TESTS, HEAD, QUICK).passed is right


def test_the_table_is_long_enough() -> None:
    assert len(ANSWERS) >= 30


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("def add(a, b):\n    return a + b\n[DONE]\n\nNext: def add(", True),
        ("[BEGIN]\ndef add(a, b):\n    return a + b\n[DONE]", True),
        ("```python\ndef add(a, b):\n    return a + b\n```", True),
        ("add = lambda a, b: a + b", True),
        ("def plus(a, b):\n    return a + b", False),
    ],
)
def test_mbpp(answer: str, right: bool) -> None:
    assert passes(answer, "add", TESTS, limits=QUICK).passed is right


def test_the_function_that_asserts_are_about() -> None:
    assert name_under_test(["assert set(similar((3, 4))) == set([4])"]) == "similar"
    assert name_under_test(["import math", "assert math.isclose(area(3), 9)"]) == "area"
    assert "def helper" in program("    return helper(1)", "f", "def helper(x):\n    return x\n\n\ndef f():\n")


# -- hostile programs ------------------------------------------------------------------------------------------------


@pytest.fixture
def canary() -> Iterator[Path]:
    """A file that anybody may delete, in a folder that anybody may write to, outside of what the sandbox hides."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o777)
        file = folder / "canary"
        file.write_text("alive")
        file.chmod(0o666)
        yield file


def left_over(name: str) -> list[str]:
    """Processes that gave themselves a name."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and (process / "comm").read_text().strip() == name:
                found.append(process.name)
    return found


def named(name: str) -> str:
    return f"import ctypes\nctypes.CDLL(None).prctl(15, {name.encode()!r}, 0, 0, 0)\n"


def test_a_loop_is_stopped_and_so_is_sleep() -> None:
    for endless in ("while True: pass", "import time\ntime.sleep(60)"):
        began = time.monotonic()
        assert run(endless, Limits(seconds=1)).why == "timeout"
        assert time.monotonic() - began < 8


def test_a_fork_bomb_dies_with_its_sandbox() -> None:
    mark = f"bomb{os.getpid()}"
    slow = "import os, time\nfor _ in range(12):\n    try: os.fork()\n    except OSError: pass\ntime.sleep(60)"
    began = time.monotonic()
    assert not run(named(mark) + slow, Limits(seconds=2)).passed
    assert not run(named(mark) + "import os\nwhile True: os.fork()", Limits(seconds=2)).passed
    assert time.monotonic() - began < 15
    assert left_over(mark) == []


def test_a_child_that_leaves_its_session_is_ended_too() -> None:
    mark = f"away{os.getpid()}"
    away = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\n"
    assert run(named(mark) + away, Limits(seconds=2)).passed
    assert left_over(mark) == []


def test_memory_and_disk_are_limited() -> None:
    assert run("x = bytearray(200 << 20)").passed
    assert "MemoryError" in run("x = bytearray(3 << 30)").why
    assert run("open('x', 'wb').write(b'a' * (1 << 20))").passed
    assert "File too large" in run("open('x', 'wb').write(b'a' * (64 << 20))").why
    flood = "import os\nfor fd in range(3, 20):\n    try:\n        while True: os.write(fd, b'a' * (1 << 20))\n"
    assert not run(flood + "    except OSError: pass", QUICK).passed


@pytest.mark.parametrize(
    "attempt",
    [
        "import os; os.remove({path!r})",
        "import shutil; shutil.rmtree({folder!r})",
        "open({path!r}, 'w').write('dead')",
        "import os; os.rename({path!r}, {path!r} + '2')",
        "import subprocess; subprocess.check_call(['rm', '-rf', {folder!r}])",
        "open({folder!r} + '/new', 'w')",
        "open('/etc/passwd', 'a')",
        "import os; os.kill(1, 0); os.kill({pid}, 9)",
        "import ctypes; assert ctypes.CDLL(None).mount(None, b'/', None, 0x1020, None) == 0",
        "import os; os.setuid(0)",
    ],
)
def test_nothing_outside_can_be_changed(attempt: str, canary: Path) -> None:
    words = attempt.format(path=str(canary), folder=str(canary.parent), pid=os.getpid())
    assert not run(words, QUICK).passed
    assert canary.read_text() == "alive" and os.listdir(canary.parent) == ["canary"]


def test_there_is_no_network() -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    listening.settimeout(0.2)
    port = listening.getsockname()[1]
    outcome = run(f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)", QUICK)
    assert "unreachable" in outcome.why
    with pytest.raises(TimeoutError):
        listening.accept()
    listening.close()
    assert not run("import socket; socket.getaddrinfo('example.com', 80)", QUICK).passed


def test_it_sees_an_empty_directory_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    assert run("import os; assert os.listdir('.') == [] and 'A_SECRET' not in os.environ").passed
    assert run("open('mine', 'w').write('1'); assert open('mine').read() == '1'").passed
    assert run("import os; assert not os.path.exists('mine')").passed


def test_without_a_sandbox_no_program_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system whose kernel allows no namespaces: the launcher says so, and nothing falls back to running it."""
    import subprocess

    refused = subprocess.CompletedProcess([], sandbox.SEALED, b"", b"unshare: Operation not permitted")
    monkeypatch.setattr(sandbox.subprocess, "run", lambda *args, **options: refused)
    with pytest.raises(MdmkitError, match=r"has none \(unshare: Operation not permitted\)"):
        run("pass")
