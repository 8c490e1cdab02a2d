"""In CI a test that is skipped and not on the list fails the run; elsewhere it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from skipping import allowed

HERE = Path(__file__).parent
FILES = {
    "conftest.py": "import pathlib, skipping\n"
    "from skipping import pytest_configure\n"
    "skipping.LIST = pathlib.Path(__file__).with_name('list.txt')\n",
    "test_missing.py": "import pytest\npytest.skip('no such program', allow_module_level=True)\n",
    "test_some.py": "import pytest\ndef test_one():\n    pass\ndef test_two():\n    pytest.skip('no such package')\n",
    "test_expected.py": "import pytest\n@pytest.mark.xfail\ndef test_known():\n    assert False\n",
}


@pytest.fixture
def run(tmp_path):
    """Run these tests with the list given; return the exit status and what was printed."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    def run(*listed, ci="1", workers=False):
        (tmp_path / "list.txt").write_text("# what may be skipped\n" + "\n".join(listed))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(["-n", "2"] if workers else []), "."]
        env = {**os.environ, "PYTHONPATH": str(HERE), "CI": ci}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout

    return run


@pytest.mark.parametrize("workers", [False, True])
def test_a_skip_that_is_not_listed_fails_the_run(run, workers):
    status, output = run(workers=workers)
    assert status == 1
    complaint = output.partition("skipped, and not in")[2].partition("short test summary")[0]
    assert "test_missing.py: Skipped: no such program" in complaint
    assert "test_some.py::test_two: Skipped: no such package" in complaint
    assert "test_expected" not in complaint


@pytest.mark.parametrize("workers", [False, True])
def test_a_listed_skip_does_not(run, workers):
    status, output = run("test_missing.py  # needs a program", "test_some.py::test_t*", workers=workers)
    assert status == 0, output


def test_outside_ci_every_skip_is_allowed(run):
    status, output = run(ci="")
    assert status == 0 and "not in" not in output


def test_every_line_of_the_list_names_a_test_file():
    for pattern in allowed():
        assert (HERE.parent / pattern.partition("::")[0]).is_file(), pattern
