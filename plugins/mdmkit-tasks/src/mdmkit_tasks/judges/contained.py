"""A separate program that uses only the standard library: it isolates itself, then runs the program to be judged.

It has its own namespaces for mounts, processes, network, IPC and host name. Every mount is read-only, except an empty
/tmp in memory; /run is empty. It has the rights of nobody, and limits of memory, CPU time, processes and file sizes.
Linux 5.12 or newer.

    python -I contained.py '{"seconds": 5, …}' < {"program": …, "token": …}
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time

NOBODY = 65534
NEW_NS, NEW_UTS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
NOSUID_NODEV = 0x2 | 0x4
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, RDONLY = 442, -100, 0x8000, 0x1
SET_PDEATHSIG, SET_DUMPABLE, SET_NO_NEW_PRIVS = 1, 4, 38
SEALED = 93  # the exit code if the isolation failed

# The program. Its output is dropped, and only at its end, after the last assert, the token is printed.
RUNNER = """
import json, os, sys
asked = json.loads(sys.stdin.read())
out, me = os.dup(1), os.getpid()
null = os.open(os.devnull, os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)
try:
    exec(compile(asked["program"], "answer.py", "exec"), {"__name__": "__main__"})
    said = asked["token"]
except BaseException as error:
    said = "%s: %s" % (type(error).__name__, str(error)[:200])
if os.getpid() == me:
    os.write(out, said.encode("utf-8", "replace"))
os._exit(0)
"""

libc = ctypes.CDLL(None, use_errno=True)


class Attributes(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2)."""

    _fields_ = (
        ("set", ctypes.c_uint64), ("clear", ctypes.c_uint64), ("propagation", ctypes.c_uint64),
        ("namespace", ctypes.c_uint64),
    )  # fmt: skip


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
    return root


def shut(limits, root):
    """Make everything except /tmp read-only, and give up all rights."""
    prefix = os.path.realpath(sys.base_prefix)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", "/run", "tmpfs", NOSUID_NODEV, "size=4k,mode=0555")
    here = os.open(prefix, os.O_PATH | os.O_DIRECTORY)  # the file may be in /tmp, which is covered next
    mount("tmpfs", "/tmp", "tmpfs", NOSUID_NODEV, f"size={limits['disk']},mode=0777")
    os.mkdir("/tmp/.python", 0o755)
    os.mkdir("/tmp/work", 0o777)
    os.chmod("/tmp/work", 0o777)
    mount(f"/proc/self/fd/{here}", "/tmp/.python", None, MS_BIND | MS_REC)
    os.close(here)
    mount("proc", "/proc", "proc", NOSUID_NODEV)
    read_only("/", True, True)
    read_only("/tmp", False, False)
    for name, value in (
        ("AS", limits["memory"]), ("CPU", limits["seconds"] + 1), ("NPROC", limits["processes"]),
        ("FSIZE", limits["disk"]), ("NOFILE", 64), ("CORE", 0),
    ):  # fmt: skip
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
        resource.setrlimit(kind, (value, value))
    if root:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    check(libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    check(libc.prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "parent's death")
    os.chdir("/tmp/work")


def main():
    limits = json.loads(sys.argv[1])
    try:
        root = leave()
        child = os.fork()
        if child == 0:  # the first process of its namespace: all others end with it
            shut(limits, root)
            python = "/tmp/.python/bin/python{}.{}".format(*sys.version_info[:2])
            there = {"PATH": "/usr/bin:/bin", "HOME": "/tmp/work", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
            os.execve(python, [python, "-I", "-S", "-c", RUNNER], there)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        os._exit(SEALED)
    end = time.monotonic() + limits["seconds"]
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            os._exit(SEALED if os.waitstatus_to_exitcode(status) == SEALED else 0)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os._exit(124)
        time.sleep(0.005)


if __name__ == "__main__":
    main()
