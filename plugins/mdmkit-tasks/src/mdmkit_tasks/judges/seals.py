"""Two seals for untrusted programs: bubblewrap, and mdmkit's own older one. Each is the command that starts a side."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mdmkit import MdmkitError, unknown

SEALED = Path(__file__).with_name("sealed")
SUPERVISING = "mdmkit_tasks.judges.sealed.supervising"
INSIDE = "/sealed/mdmkit_tasks/judges/sealed"
WORK = "/tmp/work"
SYS_NICE = 23
# What the kernel tells there of the user's keys, which every process inherits.
KEYS = ("/proc/keys", "/proc/key-users")
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store")
# Not /dev/zero: memory that is mapped from it and shared belongs to no process.
DEVICES = ("/dev/null", "/dev/urandom")
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": WORK,
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",  # the order of a set is the same every time
    "PYTHONDONTWRITEBYTECODE": "1",
}


def bubblewrap(asked: Mapping[str, Any]) -> list[str]:
    """Start in an empty root: the files are Python's own and the system's libraries, read-only, and an empty /tmp.

    Args:
        asked: what the supervisor is asked for, and in `filter` the descriptor from which the seccomp filter is read.

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
        line += ["--cap-add", "CAP_SYS_NICE"] if _may_raise_priority() else []
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
    for keys in KEYS:
        line += ["--ro-bind", "/dev/null", keys] if Path(keys).exists() else []
    line += ["--perms", "0777", "--dir", WORK, "--remount-ro", "/", "--chdir", WORK]
    for name, value in (ENVIRONMENT | {"PYTHONPATH": "/sealed"}).items():
        line += ["--setenv", name, value]
    line += ["--seccomp", str(asked["filter"])]
    return [*line, str(python), "-s", "-P", "-S", "-m", SUPERVISING, json.dumps(asked)]


def _may_raise_priority() -> bool:
    """True with the right CAP_SYS_NICE, which root does not have in every container."""
    rights = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.M)
    return rights is not None and bool(int(rights[1], 16) >> SYS_NICE & 1)


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


def _show(path: Path) -> list[str]:
    """Options that show a path of this system, read-only; a link stays a link."""
    if path.is_symlink():
        return [*_folders(path.parent), "--symlink", os.readlink(path), str(path)]
    return [*_folders(path.parent), "--ro-bind", str(path), str(path)] if path.exists() else []


def _folders(path: Path) -> list[str]:
    """Options that make the folders on the way to a path, open to everybody."""
    return [word for folder in reversed([path, *path.parents][:-1]) for word in ("--dir", str(folder))]
