"""Two seals for untrusted programs: bubblewrap, and mdmkit's own older one. Each is the command that starts a side."""

from __future__ import annotations

import json
import os
import platform
import shutil
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mdmkit import MdmkitError, unknown

SEALED = Path(__file__).with_name("sealed")
SUPERVISING = "mdmkit_tasks.judges.sealed.supervising"
INSIDE = "/sealed/mdmkit_tasks/judges/sealed"
WORK = "/tmp/work"
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": WORK,
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",  # the order of a set is the same every time
    "PYTHONDONTWRITEBYTECODE": "1",
}
# Memory that belongs to no process escapes every limit: memfd_create, memfd_secret, shmget.
DENIED = {"x86_64": (0xC000003E, (319, 447, 29)), "aarch64": (0xC00000B7, (279, 447, 194))}
X32, EPERM = 0x40000000, 1
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # instructions of classic BPF
ALLOW, DENY = 0x7FFF0000, 0x00050000 | EPERM


def bubblewrap(asked: Mapping[str, Any]) -> list[str]:
    """Start in an empty root: the files are Python's own and the system's libraries, read-only, and an empty /tmp.

    Raises:
        MdmkitError: bubblewrap is not installed.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise MdmkitError(
            "answers that are programs run in a sandbox of bubblewrap, and this system has no `bwrap`. Install it "
            "(Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap). For this release "
            "--task-option seal=own still chooses the sandbox of mdmkit itself, which does not hide this machine's "
            "files from the programs."
        )
    python = Path(os.path.realpath(sys.base_prefix), "bin", "python{}.{}".format(*sys.version_info[:2]))
    line = [program, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
            "--as-pid-1", "--new-session", "--die-with-parent", "--cap-drop", "ALL"]  # fmt: skip
    if os.geteuid() == 0:  # the supervisor becomes nobody
        line += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        line += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    line += ["--perms", "1777", "--size", str(int(asked["disk"])), "--tmpfs", "/tmp"]  # first: Python may be in it
    prefix = python.parent.parent
    shown = [python, *(path for path in (prefix / "lib", prefix / "lib64") if path.exists()), Path("/etc/ld.so.cache")]
    for path in dict.fromkeys([*map(Path, LIBRARIES), *shown]):
        line += _show(path)
    line += [*_folders(Path(INSIDE)), "--ro-bind", str(SEALED), INSIDE, "--proc", "/proc", "--dir", "/dev"]
    for device in DEVICES:
        line += ["--dev-bind", device, device]
    line += ["--perms", "0777", "--dir", WORK, "--remount-ro", "/", "--chdir", WORK]
    for name, value in (ENVIRONMENT | {"PYTHONPATH": "/sealed"}).items():
        line += ["--setenv", name, value]
    if "filter" in asked:
        line += ["--seccomp", str(asked["filter"])]
    return [*line, str(python), "-s", "-P", "-S", "-m", SUPERVISING, json.dumps(asked)]


def own(asked: Mapping[str, Any]) -> list[str]:
    """Start in own namespaces where all files are read-only, but can be read."""
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("contained.py")), json.dumps(asked)]


SEALS: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {"bwrap": bubblewrap, "own": own}


def seal(name: str) -> Callable[[Mapping[str, Any]], list[str]]:
    """Find a seal.

    Raises:
        MdmkitError: there is none of this name.
    """
    if name not in SEALS:
        raise MdmkitError(unknown("seal (--task-option seal=NAME)", name, SEALS))
    return SEALS[name]


def syscall_filter() -> bytes | None:
    """A seccomp filter that denies the calls of `DENIED`; None on a machine of another architecture."""
    if platform.machine() not in DENIED:
        return None
    architecture, numbers = DENIED[platform.machine()]
    last = len(numbers) + 5  # where the denial is; the instruction before it allows
    lines = [(LOAD, 0, 0, 4), (EQUAL, 0, last - 2, architecture), (LOAD, 0, 0, 0), (AT_LEAST, last - 4, 0, X32)]
    lines += [(EQUAL, last - 5 - i, 0, number) for i, number in enumerate(numbers)]
    lines += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, DENY)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _show(path: Path) -> list[str]:
    """Options that show a path of this system, read-only; a link stays a link."""
    if path.is_symlink():
        return [*_folders(path.parent), "--symlink", os.readlink(path), str(path)]
    return [*_folders(path.parent), "--ro-bind", str(path), str(path)] if path.exists() else []


def _folders(path: Path) -> list[str]:
    """Options that make the folders on the way to a path, open to everybody."""
    return [word for folder in reversed([path, *path.parents][:-1]) for word in ("--dir", str(folder))]
