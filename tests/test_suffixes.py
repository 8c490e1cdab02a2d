"""The suffix of a file says its format: another one is refused before anything is decoded, as impossible names are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from mdmkit import MdmkitError
from mdmkit.cli import main
from mdmkit.cli.prompt_file import STANDARD_INPUT, read_file
from mdmkit.loop.engine import Engine

DECODE = ["decode", "--sampler", "confidence", "--device", "cpu", "--no-live", "--prompt", "2*7=__"]


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*words):
    return CliRunner().invoke(main, list(words))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "out.txt"], "--output out.txt: .txt says another format, and the rows are texts, as JSON lines"),
        (["--output", "out.json"], "name it FILE.jsonl"),
        (["--output", "out.png"], "name it FILE.jsonl"),
        (["--trace", "t.gif"], "--trace t.gif: .gif says another format, and a trace is JSON: name it FILE.json"),
        (["--trace", "t.png"], "name it FILE.json"),
        (["--trace", "t.jsonl"], "name it FILE.json"),
    ],
)
def test_another_format_is_refused_before_anything_is_decoded(options, said, monkeypatch):
    monkeypatch.setattr(Engine, "step", lambda self: pytest.fail("it decodes"))
    result = run(*DECODE, *options)
    assert result.exit_code == 2 and said in " ".join(result.stderr.split())
    assert not list(Path().iterdir())


def test_names_that_say_no_format_and_capital_letters_are_taken():
    for name in ("out", "out.JSONL", "out.ndjson"):
        assert run(*DECODE, "--output", name).exit_code == 0
        assert json.loads(Path(name).read_text())["index"] == 0
    assert run(*DECODE, "--trace", "trace").exit_code == 0
    assert run(*DECODE, "--trace", "/dev/null", "--overwrite").exit_code == 0


def test_a_page_is_html():
    run(*DECODE, "--trace", "t.json")
    for name in ("q.gif", "q.json", "q.js"):
        result = run("trace", "t.json", "--output", name)
        assert result.exit_code == 2 and "the page is HTML: name it FILE.html" in result.stderr
        assert not Path(name).exists()
    for name in ("q.html", "q.HTM", "q"):
        assert run("trace", "t.json", "--output", name).exit_code == 0
        assert Path(name).read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    "options",
    [
        ["--output", "loop"],
        ["--trace", "loop"],
        ["--prompts", "loop"],
        ["--config", "loop"],
        ["--plugin", "loop"],
        ["--model", "./loop"],
        ["--output", "nul\0.jsonl"],
        ["--trace", "nul\0"],
        ["--prompts", "nul\0"],
        ["--config", "nul\0"],
        ["--plugin", "nul\0"],
        ["--model", "nul\0"],
        ["--output", "x" * 300],
        ["--prompts", "x" * 5000],
        ["--model", "x" * 5000],
    ],
)
def test_an_impossible_name_is_a_mistake_and_no_accident(options):
    os.symlink("loop", "loop")
    result = run(*DECODE, *options)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr and "--debug" not in result.stderr


@pytest.mark.parametrize("name", ["loop", "nul\0"])
def test_traces_with_impossible_names_are_refused(name):
    os.symlink("loop", "loop")
    assert run("trace", name).exit_code == 2


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/urandom"])
def test_a_device_without_an_end_is_read_up_to_a_limit(device, monkeypatch):
    monkeypatch.setattr("mdmkit.whole_file.MOST", 1 << 20)
    for line in ([*DECODE, "--prompts", device], [*DECODE, "--config", device], ["trace", device]):
        result = run(*line)
        assert result.exit_code == 2, result.output
        assert device in result.stderr and "gives more than 1 MiB" in " ".join(result.stderr.split())


def test_standard_input_without_an_end_is_read_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("mdmkit.whole_file.MOST", 1 << 20)
    with open("/dev/zero") as endless:
        monkeypatch.setattr("sys.stdin", endless)
        with pytest.raises(MdmkitError, match="gives more than 1 MiB"):
            next(read_file(STANDARD_INPUT))


def test_a_file_may_be_larger_than_a_device_and_pipes_are_read_whole(monkeypatch):
    monkeypatch.setattr("mdmkit.whole_file.MOST", 9)
    Path("p.txt").write_text("2*7=__\n3*7=__\n")
    assert [line.prompt for line in read_file(Path("p.txt"))] == ["2*7=__", "3*7=__"]
    ours, theirs = os.pipe()
    os.write(theirs, b"2*7=__\n")
    os.close(theirs)
    with open(ours) as pipe:
        monkeypatch.setattr("sys.stdin", pipe)
        assert [line.prompt for line in read_file(STANDARD_INPUT)] == ["2*7=__"]


@pytest.mark.parametrize("option", ["--output", "--trace"])
def test_a_full_device_is_one_paragraph(option):
    result = run(*DECODE, option, "/dev/full")
    assert result.exit_code == 2 and f"{option} /dev/full: No space left on device" in result.stderr
    assert "Traceback" not in result.stderr
