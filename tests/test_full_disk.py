"""A disk that is full, and two writers: no row is lost or mixed, and `--resume` ends in the bytes of a quiet run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys

import pytest
import warm

# What is on the disk before the run: it is full at the start, in the record, or somewhere among the rows.
FILLED = (64, 60, 56, 48, 40, 24, 8, 0)
SMALL, LARGE = "size=64k", "size=4m"


LINE = ["decode", "--sampler", "confidence", "--device", "cpu", "--no-live", "--batch", "4", "--prompts", "p.jsonl"]


def start(folder, *options):
    """Start a decode of the prompts p.jsonl."""
    command, pipes = [sys.executable, "-m", "mdmkit", *LINE, *options], {"stdout": subprocess.PIPE, "stderr": -1}
    return subprocess.Popen(command, cwd=folder, text=True, **pipes)


def ended(process):
    """The exit code of a run, and what it said on standard error."""
    return outcome(process.communicate()[1], process.returncode)


def outcome(said, code):
    assert "Traceback" not in said, said
    return code, " ".join(said.split())


def decode(folder, *options, limit=None):
    """Decode the prompts p.jsonl; no file may grow beyond `limit` bytes."""
    done = warm.mdmkit(*LINE, *options, cwd=folder, limit=limit)
    return outcome(done.stderr, done.returncode)


@pytest.fixture
def place(tmp_path):
    draw = random.Random(2)
    prompts = [{"prompt": f"{draw.randint(2, 9)}*7=", "length": draw.choice((2, 3, 5))} for _ in range(40)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    return tmp_path


@pytest.mark.parametrize("options", [[], ["--trace", "t.json"]])
def test_a_file_that_may_not_grow_leaves_whole_rows_that_are_continued(place, options):
    assert decode(place, "--output", "whole.jsonl")[0] == 0
    whole = (place / "whole.jsonl").read_bytes()
    code, said = decode(place, "--output", "out.jsonl", *options, limit=len(whole) * 2 // 3)
    assert code == 2 and "File too large" in said
    rows = (place / "out.jsonl").read_bytes()
    assert rows.endswith(b"\n") and whole.startswith(rows) and rows != whole
    assert not [path for path in place.iterdir() if path.name.startswith(".")]
    assert ("continues from there" in said) == ("rows are finished" in said)
    assert decode(place, "--output", "out.jsonl", "--resume")[0] == 0
    assert (place / "out.jsonl").read_bytes() == whole


@pytest.fixture
def disk(tmp_path):
    """Mount a file system of 64 KiB; return its folder, and a function that enlarges it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if os.geteuid() != 0 or not mount(SMALL):
        pytest.skip("only root may mount a small file system")
    try:
        yield folder, lambda: mount(f"remount,{LARGE}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("filled", FILLED)
def test_a_full_disk_of_64_kib_loses_no_row(place, disk, filled):
    folder, enlarge = disk
    prompts = (place / "p.jsonl").read_text() * 9
    (place / "p.jsonl").write_text(prompts)
    assert decode(place, "--output", "whole.jsonl")[0] == 0
    whole, out = (place / "whole.jsonl").read_bytes(), folder / "out.jsonl"
    assert len(whole) > 64 * 1024
    (folder / "filler").write_bytes(bytes(filled * 1024))
    code, said = decode(place, "--output", str(out))
    assert code == 2 and "No space left on device" in said
    kept = out.read_bytes() if out.exists() else b""
    lines = kept.splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines) and {*lines} <= {*whole.splitlines(keepends=True)}
    assert {path.name for path in folder.iterdir()} <= {"filler", "out.jsonl", "out.jsonl.run.json"}
    assert decode(place, "--output", str(out), "--resume")[0] == 2  # it is still full
    assert enlarge()
    assert decode(place, "--output", str(out), "--resume")[0] == 0
    assert out.read_bytes() == whole
    print(f"{filled} KiB filled before: {len(lines)} of {len(whole.splitlines())} rows were kept")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["--overwrite", "--resume"])
def test_of_two_writers_at_once_one_writes_and_the_other_is_refused(place, way):
    """Both ask for one file, with different seeds: mixed rows would be those of neither."""
    warm, whole, out, refused = ("--set", "draw.temperature=1.0"), [], place / "out.jsonl", 0
    for seed in ("1", "2"):
        assert decode(place, "--output", f"whole{seed}.jsonl", *warm, "--seed", seed)[0] == 0
        whole.append((place / f"whole{seed}.jsonl").read_bytes())
    assert whole[0] != whole[1]
    for moment in range(10):
        for file in place.glob("out.jsonl*"):
            file.unlink()
        pair = [start(place, "--output", "out.jsonl", way, *warm, "--seed", "1")]
        with contextlib.suppress(subprocess.TimeoutExpired):
            pair[0].wait(timeout=0.3 * moment)
        pair.append(start(place, "--output", "out.jsonl", way, *warm, "--seed", "2"))
        (one, first), (two, second) = map(ended, pair)
        assert {one, two} <= {0, 2} and 0 in (one, two)
        if {one, two} == {0}:  # one after the other
            assert out.read_bytes() in whole
            continue
        assert out.read_bytes() == whole[0 if one == 0 else 1]
        said = second if one == 0 else first
        held = "another run is writing it now" in said
        assert held or "is of another run" in said
        refused += held
    assert refused >= 1
    print(f"{way}: of 10 pairs {refused} had one that the lock refused")
