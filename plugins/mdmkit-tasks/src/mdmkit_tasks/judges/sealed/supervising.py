"""The first process inside the seal: it gives up all rights, starts one side, and ends all processes with itself.

    python -m mdmkit_tasks.judges.sealed.supervising '{"side": "answer", "memory": …, "channel": [3, 4]}' < job

Nobody inside can end it, stop it or read its memory. It ends when its reader closes standard output, when the side has
ended, or when all processes together use too much memory; the kernel then ends every other process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import socket
import sys
from typing import Any

from mdmkit_tasks.judges.sealed.answering import answer
from mdmkit_tasks.judges.sealed.crossing import Channel
from mdmkit_tasks.judges.sealed.testing import test

NOBODY = 65534
SET_DUMPABLE, SET_NO_NEW_PRIVS = 4, 38
SEALED, OVER_MEMORY = b"sealed\n", 91
PRIORITY = -10  # of the supervisor, where it may have one, so that no program keeps it from its looks
PAUSE = 10  # ms between two looks at the memory
# Bytes that the kernel may need for a file in memory, without its content; for a mapping; and for the link from a
# mapping to the process that it was copied from.
INODE, MAPPING, LINK = 2 << 10, 384, 64
PAGE = os.sysconf("SC_PAGE_SIZE")
# In kB: memory of a process, also if it is swapped out, and the tables that describe it.
COUNTED = ("RssAnon:", "RssShmem:", "VmSwap:", "HugetlbPages:", "VmPTE:")


def main() -> None:
    asked = json.loads(sys.argv[1])
    job = json.loads(sys.stdin.buffer.read())
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, min(usual, PRIORITY))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        try:
            os.setuid(asked["user"])
        except OSError:  # in a container whose users end before it
            os.setuid(NOBODY)
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((SET_NO_NEW_PRIVS, 1), (SET_DUMPABLE, 0)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {option}")
    buffer = _buffer()
    _used(buffer)  # it can be measured here, or the seal does not work
    os.write(1, SEALED)
    side = os.fork()
    if side == 0:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, usual)
            os.setsid()  # a session may share its time as one group, and any process of it may lower this share
            _start(asked, job)
        finally:
            os._exit(0)
    for fd in asked["channel"]:
        os.close(fd)
    _watch(side, asked["memory"], buffer)


def _start(asked: dict[str, Any], job: dict[str, Any]) -> None:
    verdict = os.dup(1) if asked["side"] == "tests" else None
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for name, value in (
        ("AS", asked["memory"]), ("CPU", asked["seconds"] + 1), ("NPROC", asked["processes"]),
        ("FSIZE", asked["disk"]), ("NOFILE", 64), ("CORE", 0),
        ("SIGPENDING", 256), ("MSGQUEUE", 0), ("NICE", 0), ("RTPRIO", 0),
    ):  # fmt: skip
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
        resource.setrlimit(kind, (value, value))
    reading, writing = asked["channel"]
    channel = Channel(os.fdopen(reading, "rb"), os.fdopen(writing, "wb"))
    if verdict is None:
        answer(job, channel)
    else:
        test(job, channel, os.fdopen(verdict, "w"))


def _buffer() -> int:
    """Bytes that the messages in a socket may take: up to its limit, and then one more."""
    with socket.socket(socket.AF_UNIX) as plain:
        return 2 * plain.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def _watch(side: int, memory: int, buffer: int) -> None:
    reader = select.poll()
    reader.register(1, 0)  # only its end is reported
    while True:
        if reader.poll(PAUSE):
            os._exit(0)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                if ended == side:
                    os._exit(0)
        if _used(buffer) > memory:
            os._exit(OVER_MEMORY)


def _used(buffer: int) -> int:
    """Bytes of memory that all processes inside the seal use together. Pages of the system's files do not count.

    Files in memory do, and so do empty ones, which no limit of the file system counts. For the buffer of a socket the
    most that it may hold is taken, and for the tables of mappings as much as if every page were a mapping of its own.
    """
    files = os.statvfs("/tmp")
    total = (files.f_blocks - files.f_bfree) * files.f_frsize + (files.f_files - files.f_ffree) * INODE
    with open("/proc/net/sockstat", encoding="ascii") as file:
        total += int(file.readline().split()[2]) * buffer  # sockets: used 2
    processes = [f"/proc/{name}" for name in os.listdir("/proc") if name.isdigit()]
    page = MAPPING + LINK * len(processes) // 2  # in a chain of forks, half of them are before a process on average
    return total + sum(held + size // PAGE * page for held, size in map(_held, processes))


def _held(process: str) -> tuple[int, int]:
    """Bytes of memory and of addresses of a process. If its first thread has ended, only the other ones tell of it."""
    with contextlib.suppress(OSError):
        held = _told(f"{process}/status")
        threads = os.listdir(f"{process}/task")
        return (
            held if any(held) else max((_told(f"{process}/task/{thread}/status") for thread in threads), default=held)
        )
    return 0, 0


def _told(status: str) -> tuple[int, int]:
    held = size = 0
    with contextlib.suppress(OSError), open(status, encoding="utf-8", errors="replace") as file:
        for line in file:
            held += int(line.split()[1]) << 10 if line.startswith(COUNTED) else 0
            size += int(line.split()[1]) << 10 if line.startswith("VmSize:") else 0
    return held, size


if __name__ == "__main__":
    main()
