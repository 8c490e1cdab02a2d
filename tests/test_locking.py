"""Of two runs that name one file, the second is refused while the first writes; what a killed run has left is swept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mdmkit import MdmkitError
from mdmkit.cli import main
from mdmkit.cli.locking import held

PLUGIN = '''
import sys

from mdmkit import Component, Observer, hookimpl


class Waiting(Observer):
    """Says when the first row joins, then waits until standard input ends."""

    def on_admit(self, id, prompt, canvas):
        if prompt.index == 0:
            print("begun", flush=True)
            sys.stdin.read()


@hookimpl
def mdmkit_observer():
    return [Component("waiting", Waiting)]
'''
LINE = ["decode", "--plugin", "waiting.py", "--sampler", "confidence", "--device", "cpu", "--no-live"]
LINE += ["--prompt", "2*7=__", "--prompt", "3*7=__"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "waiting.py").write_text(PLUGIN)
    return tmp_path


@pytest.fixture
def first(place):
    """Start a run that has begun, and waits."""
    started = []

    def start(*options):
        command = [sys.executable, "-m", "mdmkit", *LINE, "--observer", "waiting", *options]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"begun\n", process.stderr.read()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def decode(*options):
    return CliRunner().invoke(main, [*LINE, *options])


def test_a_second_writer_is_refused_while_the_first_one_writes(place, first):
    process = first("--output", "out.jsonl", "--overwrite")
    for other in ([], ["--overwrite"], ["--resume"]):
        result = decode("--output", "out.jsonl", *other)
        assert result.exit_code == 2
        assert "--output out.jsonl: another run is writing it now" in " ".join(result.stderr.split())
    assert decode("--output", "other.jsonl").exit_code == 0
    process.communicate(timeout=60)
    assert process.returncode == 0
    rows = [json.loads(line)["index"] for line in (place / "out.jsonl").read_text().splitlines()]
    assert rows == [0, 1]
    assert not list(place.glob(".*"))
    assert decode("--output", "out.jsonl", "--overwrite").exit_code == 0


def test_a_trace_has_one_writer_and_a_link_is_the_file_that_it_names(place, first):
    (place / "real.jsonl").write_text("")
    (place / "link.jsonl").symlink_to("real.jsonl")
    first("--output", "real.jsonl", "--trace", "t.json", "--overwrite")
    assert "--trace" in decode("--trace", "t.json").stderr
    assert "another run is writing it" in " ".join(decode("--output", "link.jsonl", "--overwrite").stderr.split())


def test_the_lock_of_a_killed_run_is_free_and_its_parts_are_swept(place, first):
    process = first("--output", "out.jsonl", "--trace", "t.json")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    parts = [place / f".{name}.{process.pid}.part" for name in ("out.jsonl.run.json", "out.jsonl", "t.json")]
    for part in [*parts, place / ".other.jsonl.7.part"]:
        part.write_text("half")
    assert (place / ".out.jsonl.lock").exists()
    assert decode("--output", "out.jsonl", "--trace", "t.json").exit_code == 0
    assert [path.name for path in place.glob(".*")] == [".other.jsonl.7.part"]


def test_a_pipe_has_no_lock(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with held("--output", tmp_path / "pipe"), held("--output", tmp_path / "pipe"):
        assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_lock_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / ".t.lock").mkdir()
    with pytest.raises(MdmkitError, match=r"--trace .*Is a directory"), held("--trace", tmp_path / "t"):
        pass


def test_a_pipe_that_is_named_as_a_file_needs_no_lock():
    command = f"{sys.executable} -m mdmkit decode --sampler confidence --prompt '7*8=__' --no-live --output /dev/stdout"
    done = subprocess.run(f"{command} | cat", shell=True, capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout.splitlines()[0])["prompt"] == "7*8=__", done.stderr
