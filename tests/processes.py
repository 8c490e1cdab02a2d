"""Processes that tests start."""

from __future__ import annotations

import re
import signal
import subprocess
import threading

import pytest


def lines_until(process: subprocess.Popen[str], pattern: str) -> tuple[list[str], str]:
    """Wait for a line of standard error: the lines, which go on growing, and the pattern's first group.

    If the process ends before, the test fails with what it has said.
    """
    lines: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if found := re.search(pattern, line):
            threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True).start()
            return lines, found[1]
    pytest.fail("".join(lines))


def heed_ctrl_c() -> None:
    """For the new process: tests in the background of a shell ignore SIGINT, and their children would, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
