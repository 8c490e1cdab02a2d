"""Files that differ from a good one: each is read, or refused in one paragraph, by a process of its own.

6 in every run of the suite, 40 in that of `make test-slow`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from fuzzing import Kind, _same_registry, cases, good, quietly, restored  # noqa: F401  (fixtures)
from hypothesis import Phase, given


@pytest.mark.parametrize("processes", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_so_it_is_in_a_process_of_its_own(processes, good, tmp_path):  # noqa: F811
    drawn: list[tuple[Kind, bytes]] = []

    @quietly(processes, Phase.generate)
    @given(cases(good))
    def draw(case):
        drawn.append(case)

    draw()

    def run(number: int) -> tuple[Kind, bytes, subprocess.CompletedProcess[str]]:
        kind, data = drawn[number]
        own = tmp_path / str(number)
        shutil.copytree(good, own)
        restored(good, own, kind, data)
        command = [sys.executable, "-m", "mdmkit", *kind.command]
        done = subprocess.run(command, cwd=own, env=os.environ, capture_output=True, text=True, timeout=120)
        return kind, data, done

    assert len(drawn) >= processes
    with ThreadPoolExecutor(2) as pool:
        for kind, data, done in pool.map(run, range(processes)):
            assert done.returncode in (0, 2), (kind.name, data, done)
            assert "Traceback" not in done.stdout + done.stderr, (kind.name, data, done)
