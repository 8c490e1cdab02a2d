"""`--batch auto` of `mdmkit eval`: the same rows, and a continued run decodes as many together as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from mdmkit.cli import main
from mdmkit.installed import registry
from mdmkit_text.backbone import TextBackbone

WORDS = ["eval", "--task", "one_way", "--sampler", "confidence", "--limit", "6", "--seeds", "2", "--device", "cpu"]


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The rows of every forward; more than three do not fit."""
    seen: list[int] = []
    forward = TextBackbone.forward

    def within_room(self: Any, tokens: Any, *rest: Any, **more: Any) -> Any:
        seen.append(len(tokens))
        if len(tokens) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, tokens, *rest, **more)

    monkeypatch.setattr(TextBackbone, "forward", within_room)
    monkeypatch.chdir(tmp_path)
    return seen


def evaluated(monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    monkeypatch.setattr(registry, "_default", None)
    result = CliRunner().invoke(main, [*WORDS, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def in_force(folder: str) -> list[int]:
    return [sampler["batch"] for sampler in json.loads(Path(folder, "run.json").read_text())["samplers"]]


def test_eval_takes_auto_and_its_records_say_what_fitted(widths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    said = evaluated(monkeypatch, "--batch", "auto", "--output", "auto")
    assert "with 8 rows: decoding 4 at a time" in said and "with 4 rows: decoding 2 at a time" in said
    assert in_force("auto") == [8]
    file = Path("auto/rows/one_way/confidence.jsonl")
    record = json.loads(Path(f"{file}.run.json").read_text())
    assert record["batch"] == 8 and record["slots"] == {"0": 2}

    evaluated(monkeypatch, "--batch", "3", "--output", "three")
    ours, theirs = (
        [json.loads(line)["tokens"] for line in path.read_text().splitlines()]
        for path in (file, Path("three/rows/one_way/confidence.jsonl"))
    )
    assert ours == theirs and len(ours) == 12

    whole = file.read_text()
    file.write_text("".join(whole.splitlines(keepends=True)[:5]))
    widths.clear()
    evaluated(monkeypatch, "--batch", "auto", "--output", "auto")
    assert max(widths) == 2, "what fitted is not searched again"
    assert [json.loads(line)["tokens"] for line in file.read_text().splitlines()] == ours


def test_auto_continues_with_the_batch_that_is_recorded(widths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(monkeypatch, "--batch", "2", "--output", "out")
    file = Path("out/rows/one_way/confidence.jsonl")
    record = Path(f"{file}.run.json")
    tokens = [json.loads(line)["tokens"] for line in file.read_text().splitlines()]

    def continued(batch: str) -> None:
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:5]))
        widths.clear()
        evaluated(monkeypatch, "--batch", batch, "--output", "out")
        assert [json.loads(line)["tokens"] for line in file.read_text().splitlines()] == tokens

    continued("auto")
    assert max(widths) == 2 and in_force("out") == [2], "the number that the run began with, not 8"
    continued("3")
    assert in_force("out") == [3]
    assert max(widths) == 3 and json.loads(record.read_text())["batch"] == 2, "the record is of the run that began"
    continued("4")
    assert json.loads(record.read_text())["batch"] == 2, "a record that is written again keeps it"
    before = json.loads(record.read_text())
    record.write_text(json.dumps(before | {"batch": 4, "slots": {}}))
    continued("auto")
    assert sorted({*widths}, reverse=True)[:2] == [4, 2], "halved as often as needed"


def test_a_batch_that_is_no_number_is_no_record(widths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(monkeypatch, "--batch", "2", "--output", "out")
    record = Path("out/rows/one_way/confidence.jsonl.run.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"batch": "many"}))
    monkeypatch.setattr(registry, "_default", None)
    result = CliRunner().invoke(main, [*WORDS, "--batch", "auto", "--output", "out"])
    assert result.exit_code == 2, result.output
    assert "does not record its run: its 'batch' is 'many'" in " ".join(result.output.split())
