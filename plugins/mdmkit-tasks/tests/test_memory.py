"""The memory of a judged program has one bound: every other way to hold memory is counted, or refused."""

from __future__ import annotations

import platform
import re
import shutil
import struct
from pathlib import Path

import pytest

from mdmkit import MdmkitError
from mdmkit_tasks.judges import filter as filtering
from mdmkit_tasks.judges.sandbox import Limits, run

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed (make system)")

TEXT = Path(__file__).with_name("memory_programs.txt").read_text()
PROGRAMS = re.findall(r"^== (.+): (.+)\n((?:(?!== ).*\n)+)", TEXT, re.M)
BOUND = 256 << 20
NUMBERS = {"x86_64": {"CLONE": 56, "PIVOT_ROOT": 155, "BPF": 321, "EXIT": 60}}
NUMBERS["aarch64"] = {"CLONE": 220, "PIVOT_ROOT": 41, "BPF": 280, "EXIT": 93}
HEAD = """
import ctypes, itertools, mmap, os, socket, struct, sys, threading, time
MB = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)
def hold(size):
    global held
    held = bytearray(size * MB)
    for page in range(0, len(held), 4096):
        held[page] = 1
    time.sleep(60)
def refused(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""
HEAD += "".join(f"{name} = {number}\n" for name, number in NUMBERS.get(platform.machine(), {}).items())


WAYS = [pytest.param(why, program, "bwrap", id=way) for way, why, program in PROGRAMS]
# The older seal has the same filter and the same supervisor.
WAYS += [
    pytest.param(why, program, "own", id=f"{way}, own seal") for way, why, program in PROGRAMS if "Permission" in why
]


@pytest.mark.parametrize(("why", "program", "by"), WAYS)
def test_no_way_leads_around_the_bound(why: str, program: str, by: str) -> None:
    outcome = run(HEAD + program, "assert f(1) == 1", limits=Limits(seconds=8, memory=BOUND), by=by)
    assert not outcome.passed
    assert why in outcome.why, outcome.why


def test_the_list_is_long() -> None:
    assert len(PROGRAMS) >= 50


def test_what_programs_need_is_counted_and_allowed() -> None:
    program = (
        "import asyncio, socket, threading\n"
        "async def twice(x):\n    await asyncio.sleep(0)\n    return 2 * x\n"
        "def f(x):\n    one, other = socket.socketpair()\n    one.send(b'x' * 1000)\n"
        "    return asyncio.run(twice(x)) if other.recv(2000) else 0"
    )
    outcome = run(program, "assert f(2) == 4", limits=Limits(seconds=8, memory=BOUND))
    assert outcome.passed, outcome.why


def test_no_program_runs_on_a_machine_whose_calls_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtering.platform, "machine", lambda: "riscv64")
    with pytest.raises(MdmkitError, match="only on x86_64 and aarch64: on this machine, which is a 'riscv64'"):
        run("pass")


def verdict(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the filter returns for a call: 0 if it is allowed, else the error."""
    six = (*arguments, *[0] * 6)[:6]
    data = struct.pack("=IIQ6Q", number, architecture or filtering.MACHINES[machine][1], 0, *six)
    lines = list(struct.iter_unpack("=HBBI", filtering.syscall_filter()))
    at = held = 0
    while True:
        kind, true, false, value = lines[at]
        at += 1
        if kind == filtering.LOAD:
            (held,) = struct.unpack_from("=I", data, value)
        elif kind == filtering.AND:
            held &= value
        elif kind == filtering.RETURN:
            return 0 if value == filtering.ALLOW else value & 0xFFFF
        else:
            at += true if (held == value if kind == filtering.EQUAL else held >= value) else false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_on_both_architectures(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtering.platform, "machine", lambda: machine)
    which = filtering.MACHINES[machine][0]
    call = {name: check.numbers[which] for name, check in filtering.CHECKS.items()}
    for numbers in filtering.DENIED.values():
        assert verdict(machine, numbers[which]) == 1
    assert verdict(machine, 435) == 38
    assert verdict(machine, call["clone"], 0x01200011) == 0 and verdict(machine, call["clone"], 0x10000011) == 1
    for name in ("socket", "socketpair"):
        assert [verdict(machine, call[name], family, 1) for family in (1, 2, 16)] == [0, 1, 1]
    assert [verdict(machine, call["setsockopt"], 3, 1, option) for option in (2, 7, 26, 50)] == [0, 1, 1, 1]
    assert [verdict(machine, call["mmap"], 0, 4096, 3, flags) for flags in (0x21, 0x22, 0x01)] == [1, 0, 0]
    assert [verdict(machine, call["fcntl"], 3, command) for command in (3, 6, 38, 1026, 1030)] == [0, 1, 1, 1, 0]
    assert [verdict(machine, call["ioctl"], 3, request) for request in (0x5401, 0x5451, 0x5412)] == [0, 0, 1]
    assert [verdict(machine, call["prctl"], option) for option in (15, 22, 62)] == [0, 1, 1]
    assert [verdict(machine, call["prlimit64"], process) for process in (0, 1)] == [0, 1]
    whose = [(0, 0), (0, 1), (1, 0), (2, 0)]  # itself, the first process, its group, its user
    assert [verdict(machine, call["setpriority of itself"], *one, 19) for one in whose] == [0, 1, 1, 1]
    assert verdict(machine, 462) == 0 and verdict(machine, 463) == verdict(machine, 500) == 38
    assert verdict(machine, 0x40000000) == 1
    assert verdict(machine, 39, architecture=0x40000003) == 1  # 32 bits
