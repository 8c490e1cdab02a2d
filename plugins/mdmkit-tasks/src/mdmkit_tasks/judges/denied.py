"""The system calls that the sandbox denies, and those that it allows with some arguments only.

Denied is what an honest program does not need, and what leads out of the namespaces, holds memory of the kernel that
the supervisor does not count, changes other processes, or reads what belongs to the user.
"""

from __future__ import annotations

from dataclasses import dataclass

# In place of the number of a call that an architecture does not have.
NONE = 0xFFFFFFFF
# The number of each call on x86-64, and on ARM64. From 424 on, a call has the same number everywhere.
DENIED = {
    # Other namespaces and mounts: a new user namespace has all rights inside, and can mount memory without a limit.
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    # Memory that belongs to no process.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "vmsplice": (278, 75), "io_uring_setup": (425, 425),
    "bpf": (321, 280), "perf_event_open": (298, 241),
    # Queues, rules, filters, policies and attributes that the kernel keeps.
    "inotify_init": (253, NONE), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "io_setup": (206, 0), "flock": (73, 32),
    "landlock_create_ruleset": (444, 444), "landlock_add_rule": (445, 445), "landlock_restrict_self": (446, 446),
    "seccomp": (317, 277), "userfaultfd": (323, 282), "modify_ldt": (154, NONE), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "mbind": (237, 235), "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    # Scheduling: the supervisor has the same user, and has to run in time.
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30),
    # Other processes, and the whole machine.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "personality": (135, 92), "sync": (162, 81),
    "syncfs": (306, 267), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    # What belongs to the user: keys, which are inherited, the kernel's messages, and files without their path.
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "syslog": (103, 116),
    "open_by_handle_at": (304, 265),
}  # fmt: skip
# Linux 6.10. Newer calls are not known here.
NEWEST = 462
# Every bit by which clone makes a namespace.
NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
AF_UNIX, SO_SNDBUF, SO_SNDBUFFORCE = 1, 7, 32
# Programs for the packets of a socket: classic, BPF, and two for a group of sockets.
SOCKET_FILTERS = (26, 50, 51, 52)
MAP_KIND, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_ANONYMOUS = 0x0F, 0x01, 0x03, 0x20
# F_SETLK, F_SETLKW, and the same for open files. A file can have any number of them.
LOCKS = (6, 7, 37, 38)
F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ = 1024, 1026, 1031
# TCGETS and TCGETS2 (is it a terminal?), TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: Python uses them.
IOCTLS = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
PR_SET_SECCOMP, PR_SCHED_CORE, PR_SET_VMA = 22, 62, 0x53564D41
PRIO_PROCESS, ITSELF = 0, 0
ALL = 0xFFFFFFFF


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


CHECKS = {
    "clone": Check((56, 220), 0, NAMESPACES, only=(0,)),
    # Sockets of other kinds hold more than their share, also over loopback.
    "socket": Check((41, 198), 0, ALL, only=(AF_UNIX,)),
    "socketpair": Check((53, 199), 0, ALL, only=(AF_UNIX,)),
    # The supervisor counts sockets, not what each one holds.
    "setsockopt": Check((54, 208), 2, ALL, never=(SO_SNDBUF, SO_SNDBUFFORCE, *SOCKET_FILTERS)),
    # Memory that is shared stays if no process shows it any more.
    "mmap": Check(
        (9, 222), 3, MAP_KIND | MAP_ANONYMOUS,
        never=(MAP_SHARED | MAP_ANONYMOUS, MAP_SHARED_VALIDATE | MAP_ANONYMOUS),
    ),
    "fcntl": Check((72, 25), 1, ALL, never=(*LOCKS, F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ)),
    "ioctl": Check((16, 29), 1, ALL, only=IOCTLS),
    "prctl": Check((157, 167), 0, ALL, never=(PR_SET_SECCOMP, PR_SCHED_CORE, PR_SET_VMA)),
    # A process may lower its own limits and its own priority.
    "prlimit64": Check((302, 261), 0, ALL, only=(ITSELF,)),
    "setpriority of one process": Check((141, 140), 0, ALL, only=(PRIO_PROCESS,)),
    "setpriority of itself": Check((141, 140), 1, ALL, only=(ITSELF,)),
}  # fmt: skip
