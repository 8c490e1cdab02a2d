"""The seccomp filter of the sandbox: system calls that would let a program leave its namespaces or its memory limit.

bubblewrap's own `--disable-userns` is not used: it is not possible as root, where the supervisor changes its user, and
it needs a writable /proc/sys, which a container may not have. The filter holds in every case.
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass

from mdmkit import MdmkitError

EPERM, ENOSYS = 1, 38
# The number of each call on x86-64, and on ARM64. Calls after 423 have the same number everywhere.
DENIED = {
    # Other namespaces and mounts: a new user namespace has all rights inside, and can mount memory without a limit.
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    # Memory that belongs to no process.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "vmsplice": (278, 75), "io_uring_setup": (425, 425),
    "bpf": (321, 280), "perf_event_open": (298, 241),
}  # fmt: skip
CLONE3 = 435
# Every bit by which clone makes a namespace.
NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
AF_UNIX, SO_SNDBUF, SO_SNDBUFFORCE = 1, 7, 32
MAP_KIND, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_ANONYMOUS = 0x0F, 0x01, 0x03, 0x20
X32 = 0x40000000
LOAD, EQUAL, AT_LEAST, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06  # instructions of classic BPF
ALLOW, ERROR = 0x7FFF0000, 0x00050000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # places in `struct seccomp_data`
Line = tuple[int, int, int, int]


@dataclass(frozen=True)
class Check:
    """A call that is allowed only with some values of one argument, of which the bits in `mask` count.

    Args:
        numbers: of the call, on x86-64 and on ARM64.
        only: the values that are allowed; None: all but `never`.
    """

    numbers: tuple[int, int]
    argument: int
    mask: int
    only: tuple[int, ...] | None = None
    never: tuple[int, ...] = ()


CHECKS = (
    Check((56, 220), 0, NAMESPACES, only=(0,)),  # clone: no namespaces
    Check((41, 198), 0, 0xFFFFFFFF, only=(AF_UNIX,)),  # socket: others hold more than their share, also over loopback
    Check((54, 208), 2, 0xFFFFFFFF, never=(SO_SNDBUF, SO_SNDBUFFORCE)),  # setsockopt: the supervisor counts sockets
    # mmap: what is shared stays if no process shows it any more.
    Check(
        (9, 222), 3, MAP_KIND | MAP_ANONYMOUS,
        never=(MAP_SHARED | MAP_ANONYMOUS, MAP_SHARED_VALIDATE | MAP_ANONYMOUS),
    ),
)  # fmt: skip
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
    for check in CHECKS:
        block = _block(check)
        lines += [(EQUAL, 0, len(block), check.numbers[which]), *block]
    lines.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _block(check: Check) -> list[Line]:
    """The lines for a call whose number has been found. They always return."""
    found, otherwise = ((RETURN, 0, 0, ALLOW), _fail(EPERM)) if check.only else (_fail(EPERM), (RETURN, 0, 0, ALLOW))
    block: list[Line] = [(LOAD, 0, 0, ARGUMENTS + 8 * check.argument), (AND, 0, 0, check.mask)]
    for value in check.only or check.never:
        block += [(EQUAL, 0, 1, value), found]
    return [*block, otherwise]


def _fail(error: int) -> Line:
    return (RETURN, 0, 0, ERROR | error)
