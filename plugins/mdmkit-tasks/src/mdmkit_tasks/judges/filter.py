"""The seccomp filter of the sandbox: system calls that would let a program leave its namespaces or its memory limit.

bubblewrap's own `--disable-userns` is not used: it is not possible as root, where the supervisor changes its user, and
it needs a writable /proc/sys, which a container may not have. The filter holds in every case.
"""

from __future__ import annotations

import platform
import struct

from mdmkit import MdmkitError
from mdmkit_tasks.judges.denied import CHECKS, DENIED, NEWEST, Check

EPERM, ENOSYS = 1, 38
CLONE3 = 435
X32 = 0x40000000
LOAD, EQUAL, AT_LEAST, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06  # instructions of classic BPF
ALLOW, ERROR = 0x7FFF0000, 0x00050000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # places in `struct seccomp_data`
Line = tuple[int, int, int, int]
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def syscall_filter() -> bytes:
    """The filter as a program for `seccomp`. Calls of a second architecture (32 bits, x32) are all denied.

    Raises:
        MdmkitError: the calls of this machine are not known.
    """
    if platform.machine() not in MACHINES:
        raise MdmkitError(
            f"answers that are programs run only on {' and '.join(MACHINES)}: on this machine, which is a "
            f"{platform.machine()!r}, the sandbox does not know the system calls that it has to deny."
        )
    which, architecture = MACHINES[platform.machine()]
    lines: list[Line] = [
        (LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), _fail(EPERM),
        (LOAD, 0, 0, NUMBER), (AT_LEAST, 0, 1, X32), _fail(EPERM),
    ]  # fmt: skip
    for numbers in DENIED.values():
        lines += [(EQUAL, 0, 1, numbers[which]), _fail(EPERM)]
    # The flags of clone3 are in memory, where no filter sees them. The C library then calls clone.
    lines += [(EQUAL, 0, 1, CLONE3), _fail(ENOSYS)]
    lines += [(AT_LEAST, 0, 1, NEWEST + 1), _fail(ENOSYS)]
    for check in CHECKS.values():
        block = _block(check)
        lines += [(LOAD, 0, 0, NUMBER), (EQUAL, 0, len(block), check.numbers[which]), *block]
    lines.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _block(check: Check) -> list[Line]:
    """The lines for a call whose number has been found. They go on after their end if the check allows it."""
    block: list[Line] = [(LOAD, 0, 0, ARGUMENTS + 8 * check.argument), (AND, 0, 0, check.mask)]
    if check.only is None:
        for value in check.never:
            block += [(EQUAL, 0, 1, value), _fail(EPERM)]
        return block
    left = len(check.only)
    block += [(EQUAL, left - i, 0, value) for i, value in enumerate(check.only)]
    return [*block, _fail(EPERM)]


def _fail(error: int) -> Line:
    return (RETURN, 0, 0, ERROR | error)
