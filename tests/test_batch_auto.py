"""`batch="auto"`: it begins large, halves until it fits, and gives the rows of any other batch."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

import mdmkit
from mdmkit import MdmkitError
from mdmkit.cli import main
from mdmkit.cli.recorded import read_batch
from mdmkit.decoding.batch import ON_CPU, ON_GPU, chosen_batch
from mdmkit.decoding.run import decode_batches
from mdmkit.installed import registry
from mdmkit.testing import ToyBackbone
from mdmkit.testing.reference import ByConfidence, TakeQuota

PLUGIN = """
import os

import torch

from mdmkit import Component, hookimpl
from mdmkit.testing import ToyBackbone
from mdmkit.testing.reference import ByConfidence, TakeQuota


class Toy(ToyBackbone):
    def forward(self, tokens, *rest, **options):
        with open("widths", "a") as widths:
            widths.write(f"{len(tokens)} ")
        if len(tokens) > int(os.environ["ROOM"]):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(tokens, *rest, **options)


@hookimpl
def mdmkit_backbone():
    return [Component("toy", Toy)]


@hookimpl
def mdmkit_score():
    return [Component("by_confidence", ByConfidence)]


@hookimpl
def mdmkit_select():
    return [Component("take_quota", TakeQuota)]
"""


class Roomy(ToyBackbone):
    """Has room for so many rows in a forward."""

    def __init__(self, room: int):
        super().__init__()
        self.room, self.widths = room, []

    def forward(self, tokens: Any, *rest: Any, **options: Any) -> Any:
        self.widths.append(len(tokens))
        if len(tokens) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(tokens, *rest, **options)


def sampler() -> Any:
    return mdmkit.compose(score=ByConfidence(), select=TakeQuota())


def asked(count: int) -> list[dict[str, Any]]:
    return [{"prompt": "abcdefgh"[: 1 + i % 5], "length": 3 + i % 4} for i in range(count)]


def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin on this CPU as on a GPU."""
    monkeypatch.setattr("mdmkit.decoding.batch.ON_CPU", ON_GPU)


def test_it_begins_with_64_rows_on_a_gpu_and_8_on_a_cpu() -> None:
    backbone = ToyBackbone()
    assert chosen_batch("auto", backbone) == (ON_CPU, True) == (8, True)
    backbone.device = torch.device("cuda")
    assert chosen_batch("auto", backbone) == (ON_GPU, True) == (64, True)
    assert chosen_batch(3, backbone) == (3, False)


@functools.cache
def batches_of_ninety() -> list[tuple[list[Any], list[int]]]:
    """Tokens and calls of the same rows one by one, seven at a time, and all at once."""
    runs = [mdmkit.decode(sampler(), ToyBackbone(), asked(90), seed=3, batch=batch) for batch in (1, 7, None)]
    return [(run.tokens, [row.nfe for row in run.rows]) for run in runs]


@pytest.mark.parametrize("room", [70, 40, 9, 1])
def test_it_is_halved_until_it_fits_and_rows_are_those_of_any_batch(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu(monkeypatch)
    backbone, said, slots = Roomy(room), [], {}
    prompts = mdmkit.read_prompts(asked(90), 3)
    batches = decode_batches(sampler(), backbone, prompts, batch="auto", tell=said.append, slots=slots)
    rows = sorted((row for found, _ in batches for row in found), key=lambda row: row.index)
    fitting = 64
    while fitting > room:
        fitting //= 2
    assert max(width for width in backbone.widths if width <= room) == min(fitting, 90)
    assert slots == ({} if fitting == 64 else {0: fitting})
    assert len(said) == (64 // fitting).bit_length() - 1, "one sentence for each halving"
    for tokens, counts in batches_of_ninety():
        assert tokens == [row.tokens for row in rows]
        assert counts == [row.nfe for row in rows]


def test_what_fitted_holds_for_all_later_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdmkit.decoding.batch.ON_CPU", 4)  # a unit has 16 rows
    backbone, said = Roomy(1), []
    prompts = mdmkit.read_prompts(asked(40), 0)
    found = list(decode_batches(sampler(), backbone, prompts, batch="auto", tell=said.append))
    assert [len(rows) for rows, _ in found] == [16, 16, 8]
    assert len(said) == 2 and sum(width > 1 for width in backbone.widths) == 2, "4, then 2, then never again"


@pytest.mark.filterwarnings("ignore:Out of GPU memory")
def test_if_one_row_does_not_fit_it_is_refused() -> None:
    with (
        pytest.warns(UserWarning, match="decoding 1 at a time"),
        pytest.raises(MdmkitError, match="with 1 row of 10 columns, over a voc") as raised,
    ):
        mdmkit.decode(sampler(), Roomy(0), asked(4), batch="auto")
    assert "halved once" not in str(raised.value) and "--batch" not in str(raised.value)


def test_a_batch_of_another_name_is_refused() -> None:
    for batch in ("large", 0, 2.5, True):
        with pytest.raises(MdmkitError, match=r"it is a number of rows, at least 1, or 'auto'"):
            mdmkit.decode(sampler(), ToyBackbone(), ["a"], batch=batch)  # type: ignore[arg-type]


def test_stream_takes_it_too() -> None:
    with pytest.warns(UserWarning, match="with 8 rows: decoding 4 at a time"):
        rows = list(mdmkit.stream(sampler(), Roomy(4), asked(20), seed=1, batch="auto"))
    assert [row.tokens for row in rows] == mdmkit.decode(sampler(), ToyBackbone(), asked(20), seed=1).tokens


@pytest.fixture
def decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    Path("toys.py").write_text(PLUGIN)
    Path("greedy.yaml").write_text("score: by_confidence\nselect: take_quota\nplan: {length: 4}\n")
    Path("p.jsonl").write_text("".join(json.dumps({"prompt": "abcd"[: 1 + i % 4]}) + "\n" for i in range(50)))
    base = ["decode", "--plugin", "toys.py", "--model", "toy:0", "--config", "greedy.yaml", "--no-live"]
    base += ["--device", "cpu", "--prompts", "p.jsonl"]

    def call(*options: Any, room: int = 99) -> Result:
        monkeypatch.setattr(registry, "_default", None)
        monkeypatch.setenv("ROOM", str(room))
        Path("widths").unlink(missing_ok=True)
        return CliRunner().invoke(main, [*base, *map(str, options)])

    return call


def widest() -> int:
    return max(map(int, Path("widths").read_text().split()))


def tokens(output: str) -> list[list[int]]:
    return [json.loads(line)["tokens"] for line in Path(output).read_text().splitlines()]


def record(output: str = "out.jsonl") -> dict[str, Any]:
    return json.loads(Path(f"{output}.run.json").read_text())


def test_the_record_says_which_batch_was_used_and_what_fitted(decode: Any) -> None:
    result = decode("--output", "out.jsonl", "--batch", "auto", room=2)
    assert result.exit_code == 0, result.output
    assert [line for line in result.stderr.splitlines() if "memory" in line] == [
        "Out of GPU memory with 8 rows: decoding 4 at a time from here on.",
        "Out of GPU memory with 4 rows: decoding 2 at a time from here on.",
    ]
    assert record()["batch"] == 8 and record()["slots"] == {"0": 2}
    assert decode("--output", "two.jsonl", "--batch", 2).exit_code == 0
    assert record("two.jsonl")["batch"] == 2
    assert tokens("out.jsonl") == tokens("two.jsonl")


def test_a_resumed_run_keeps_the_batch_that_is_recorded(decode: Any) -> None:
    assert decode("--output", "whole.jsonl", "--batch", 3).exit_code == 0
    whole = Path("whole.jsonl").read_text()
    lines = whole.splitlines(keepends=True)
    Path("whole.jsonl").write_text("".join(lines[:20]))
    assert decode("--output", "whole.jsonl", "--resume", "--batch", "auto").exit_code == 0
    assert widest() == 3 and record("whole.jsonl")["batch"] == 3
    assert Path("whole.jsonl").read_text() == whole

    Path("whole.jsonl").write_text("".join(lines[:20]))
    assert decode("--output", "whole.jsonl", "--resume", "--batch", 5).exit_code == 0
    assert widest() == 5 and record("whole.jsonl")["batch"] == 3, "the record is of the run that began"


def test_fewer_prompts_than_it_begins_with_are_one_batch(decode: Any) -> None:
    Path("p.jsonl").write_text('"a"\n"b"\n')
    assert decode("--output", "out.jsonl", "--batch", "auto").exit_code == 0
    assert record()["batch"] == 2


def test_a_wrong_batch_is_refused_on_the_command_line(decode: Any) -> None:
    for wrong in ("0", "many", "-1"):
        result = decode("--batch", wrong)
        assert result.exit_code == 2 and f"'{wrong}' is not a number of rows from 1, and not auto" in result.stderr


@pytest.mark.parametrize("damaged", [0, -1, True, 1.5, "2", []])
def test_a_batch_in_a_record_that_is_no_number_of_rows_is_refused(damaged: object) -> None:
    assert read_batch({}) is None and read_batch({"batch": 3}) == 3
    with pytest.raises(ValueError, match=r"'batch' is .*, which is no whole number from 1"):
        read_batch({"batch": damaged})
