"""In CI (the environment variable CI is set) a skipped test is a failure, unless tests/may_skip.txt names it.

A test that is skipped because a package or a program is missing looks like a test that passed. Here it does not.
"""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("may_skip.txt")


def allowed() -> list[str]:
    """The patterns of the list, each a file or file::test, `*` for any letters."""
    lines = (line.partition("#")[0].strip() for line in LIST.read_text().splitlines())
    return [line for line in lines if line]


class Skips:
    """Collect what was skipped and is not on the list, and fail the run for it.

    Args:
        patterns: names of tests that may be skipped.
    """

    def __init__(self, patterns: list[str]):
        self.patterns = patterns
        self.unexpected: dict[str, str] = {}

    def seen(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        if not any(fnmatch(report.nodeid, pattern) for pattern in self.patterns):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.unexpected[report.nodeid] = reason

    pytest_runtest_logreport = seen
    pytest_collectreport = seen

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.unexpected:
            terminalreporter.section("skipped, and not in tests/may_skip.txt", red=True)
            for name, reason in sorted(self.unexpected.items()):
                terminalreporter.line(f"{name}: {reason}")


def pytest_configure(config: pytest.Config) -> None:
    """Count in CI only, and in the process that hears of every test."""
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Skips(allowed()))
