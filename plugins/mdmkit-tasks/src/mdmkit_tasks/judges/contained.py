"""The older seal: a separate program that uses only the standard library, isolates itself, then starts the supervisor.

It has its own namespaces for mounts, processes, network, IPC and host name. Every mount is read-only, except an empty
/tmp in memory; /run is empty. All other files of this machine can still be read. Linux 5.12 or newer.

    python -I -S contained.py '{"side": "answer", "disk": …}' < job
"""

import ctypes
import json
import os
import signal
import sys

NEW_NS, NEW_UTS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
NOSUID_NODEV = 0x2 | 0x4
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, RDONLY = 442, -100, 0x8000, 0x1
SET_PDEATHSIG, SET_SECCOMP, SET_NO_NEW_PRIVS, FILTER = 1, 22, 38, 2
SUPERVISING = "mdmkit_tasks.judges.sealed.supervising"

libc = ctypes.CDLL(None, use_errno=True)


class Attributes(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2)."""

    _fields_ = (
        ("set", ctypes.c_uint64), ("clear", ctypes.c_uint64), ("propagation", ctypes.c_uint64),
        ("namespace", ctypes.c_uint64),
    )  # fmt: skip


class Program(ctypes.Structure):
    """`struct sock_fprog` of seccomp(2)."""

    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))


def check(result, what):
    if result != 0:
        raise OSError(f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, kind, flags=0, data=None):
    check(
        libc.mount(*(None if v is None else v.encode() for v in (source, target, kind)), ctypes.c_ulong(flags),
                   None if data is None else data.encode()),
        f"mount {target}",
    )  # fmt: skip


def read_only(path, yes, recursive):
    attributes = Attributes(set=RDONLY if yes else 0, clear=0 if yes else RDONLY)
    flags = AT_RECURSIVE if recursive else 0
    call = (SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, ctypes.byref(attributes), ctypes.sizeof(attributes))
    check(libc.syscall(*call), f"mount_setattr {path}")


def leave():
    """Enter new namespaces. Without root rights this needs a user namespace."""
    root = os.geteuid() == 0
    uid, gid = os.geteuid(), os.getegid()
    check(libc.unshare((0 if root else NEW_USER) | NEW_NS | NEW_UTS | NEW_IPC | NEW_PID | NEW_NET), "unshare")
    if not root:
        for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line)


def shut(disk):
    """Make everything except /tmp read-only. Python and the sealed modules may be in /tmp, which is covered."""
    shown = {
        "/tmp/.python": os.path.realpath(sys.base_prefix),
        "/tmp/.sealed/mdmkit_tasks/judges/sealed": os.path.join(os.path.dirname(os.path.abspath(__file__)), "sealed"),
    }
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", "/run", "tmpfs", NOSUID_NODEV, "size=4k,mode=0555")
    held = {target: os.open(source, os.O_PATH | os.O_DIRECTORY) for target, source in shown.items()}
    mount("tmpfs", "/tmp", "tmpfs", NOSUID_NODEV, f"size={int(disk)},mode=0777")
    os.mkdir("/tmp/work")
    os.chmod("/tmp/work", 0o777)
    for target, fd in held.items():
        os.makedirs(target)
        mount(f"/proc/self/fd/{fd}", target, None, MS_BIND | MS_REC)
        os.close(fd)
    mount("proc", "/proc", "proc", NOSUID_NODEV)
    read_only("/", True, True)
    read_only("/tmp", False, False)
    # Memory that is mapped from /dev/zero and shared belongs to no process.
    mount("/dev/null", "/dev/zero", None, MS_BIND)
    for keys in filter(os.path.exists, ("/proc/keys", "/proc/key-users")):  # they tell of the user's keys
        mount("/dev/null", keys, None, MS_BIND)
    check(libc.prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "parent's death")
    os.chdir("/tmp/work")


def deny(fd):
    """Put the seccomp filter that the descriptor holds on this process and all that it starts."""
    with open(fd, "rb") as file:
        lines = file.read()
    check(libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new rights")
    program = Program(len(lines) // 8, lines)
    check(libc.prctl(SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0), "seccomp")


def main():
    asked = sys.argv[1]
    leave()
    child = os.fork()
    if child == 0:  # the first process of its namespace: all others end with it
        shut(json.loads(asked)["disk"])
        python = "/tmp/.python/bin/python{}.{}".format(*sys.version_info[:2])
        there = {
            "PATH": "/usr/bin:/bin", "HOME": "/tmp/work", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": "/tmp/.sealed", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        for fd in json.loads(asked)["channel"]:
            os.set_inheritable(fd, True)
        deny(json.loads(asked)["filter"])
        os.execve(python, [python, "-s", "-P", "-S", "-m", SUPERVISING, asked], there)
    for fd in (0, 1, *json.loads(asked)["channel"]):
        os.close(fd)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)


if __name__ == "__main__":
    main()
