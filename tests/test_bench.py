"""`mdmkit bench`: its numbers agree with one another, every option does something, and a cell that fails is a line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from refusing import refused

from mdmkit.cli import main
from mdmkit.installed import registry

PLUGIN = """
import os
import time

import torch

from mdmkit import Component, hookimpl
from mdmkit.testing import ToyBackbone


class Toy(ToyBackbone):
    '''Writes down what it encodes and forwards; has room for so many rows, and is as slow as it is told.'''

    calls = 0

    def encode(self, prompts, plan):
        with open("prompts", "a") as told:
            told.writelines(f"{prompt.index} {' '.join(map(str, prompt.ids))}\\n" for prompt in prompts)
        return super().encode(prompts, plan)

    def forward(self, tokens, *rest, **options):
        with open("widths", "a") as told:
            told.write(f"{len(tokens)} {tokens.shape[1]}\\n")
        Toy.calls += 1
        if Toy.calls == int(os.environ.get("STOP_AT", 0)):
            raise KeyboardInterrupt
        if len(tokens) > int(os.environ.get("ROOM", 99)):
            if "ON_CPU" in os.environ:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
            raise torch.OutOfMemoryError("CUDA out of memory")
        time.sleep(float(os.environ.get("TRUNK", 0)))
        return super().forward(tokens, *rest, **options)

    def project(self, hidden):
        time.sleep(float(os.environ.get("HEAD", 0)))
        return super().project(hidden)


class Ending(Toy):
    '''Always writes the end token.'''

    def __init__(self, **options):
        super().__init__(**options)
        self.ends = (1,)

    def project(self, hidden):
        logits = super().project(hidden)
        logits[..., 1] += 99
        return logits


class Pictures(Toy):
    files = object()


@hookimpl
def mdmkit_backbone():
    return [Component("toy", Toy), Component("ending", Ending), Component("pictures", Pictures)]
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `mdmkit bench` with the toy; later options win, and upper-case keywords are its settings."""
    monkeypatch.chdir(tmp_path)
    Path("toys.py").write_text(PLUGIN)
    base = ["bench", "--plugin", "toys.py", "--model", "toy:0", "--device", "cpu", "--samplers", "confidence"]
    base += ["--length", "4", "--prompt-length", "3", "--repeats", "1", "--batch", "1"]

    def call(*options: Any, **settings: Any) -> Result:
        monkeypatch.setattr(registry, "_default", None)
        for name, value in settings.items():
            monkeypatch.setenv(name, str(value))
        for name in ("prompts", "widths"):
            Path(name).unlink(missing_ok=True)
        return CliRunner().invoke(main, [*base, *map(str, options)])

    return call


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def table(result: Result) -> list[list[str]]:
    """The cells of the table's lines, without head and rule."""
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line.startswith("|")]
    return [[text.strip() for text in line.strip("|").split("|")] for line in lines[2:]]


def forwarded() -> list[tuple[int, int]]:
    """Rows and columns of every forward."""
    return [(int(rows), int(columns)) for rows, columns in map(str.split, Path("widths").read_text().splitlines())]


def prompts() -> dict[int, set[str]]:
    """The ids that each row was encoded with."""
    found: dict[int, set[str]] = {}
    for line in Path("prompts").read_text().splitlines():
        index, _, ids = line.partition(" ")
        found.setdefault(int(index), set()).add(ids)
    return found


def test_the_numbers_of_a_cell_agree(bench: Any) -> None:
    given = document(bench("--json", "--batch", "2,3", "--repeats", 3, "--samplers", "confidence,info_gain"))
    assert len(given["cells"]) == 4
    for cell in given["cells"]:
        assert cell["tokens"] == 4 * cell["batch"]
        assert cell["tokens_per_second"] * cell["seconds"] == pytest.approx(cell["tokens"])
        ms = cell["ms_per_step"]
        assert ms["trunk"] + ms["head"] + ms["rest"] == pytest.approx(ms["total"])
        assert ms["total"] * cell["steps"] == pytest.approx(1000 * cell["seconds"])
        assert min(ms.values()) > 0
        assert 0 < cell["seconds_to_first_text"] <= cell["seconds"]
        assert len(cell["seconds_of_each"]) == 3 and sorted(cell["seconds_of_each"])[1] == cell["seconds"]
        assert cell["nfe"]["per_token"] * cell["tokens"] == pytest.approx(cell["nfe"]["rows"])
        assert cell["peak_bytes"] > 1 << 20
    confidence = given["cells"][0]
    assert confidence["steps"] == 4 and confidence["nfe"] == {"rows": 8, "calls": 4, "per_token": 1.0}
    assert given["cells"][-1]["nfe"]["per_token"] > 1, "a lookahead forwards more than one row for a token"


def test_the_document_says_what_it_was_measured_on(bench: Any) -> None:
    import torch

    given = document(bench("--json", "--seed", 5, "--dtype", "float32"))
    machine = given["machine"]
    assert machine["torch"] == torch.__version__ and machine["dtype"] == "float32"
    assert machine["device_type"] == "cpu" and machine["device"] and machine["threads"] >= 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", machine["date"]) and "transformers" in machine
    assert given["model"] == "toy:0" and given["seed"] == 5
    assert (given["prompt_length"], given["length"], given["repeats"]) == (3, 4, 1)
    assert given["cells"][0]["config"]["seed"] == 5


def test_the_parts_of_a_step_are_where_the_time_was_spent(bench: Any) -> None:
    cell = document(bench("--json", TRUNK=0.03, HEAD=0.01))["cells"][0]
    ms = cell["ms_per_step"]
    assert ms["trunk"] >= 30 and 10 <= ms["head"] < ms["trunk"]
    assert ms["total"] >= 40 and ms["rest"] <= ms["total"] - 40 + 1e-6


def test_a_line_of_the_table_for_every_sampler_cache_and_batch(bench: Any) -> None:
    rows = table(bench("--samplers", "confidence,entropy", "--batch", "1,2"))
    assert [row[:3] for row in rows] == [[s, "none", b] for s in ("confidence", "entropy") for b in ("1", "2")]
    assert all(float(number) > 0 for row in rows for number in row[3:10])


def test_caches_are_those_of_the_model_and_one_that_it_lacks_is_a_line_with_the_reason(bench: Any) -> None:
    result = bench("--cache", "none,dual")
    rows = table(result)
    assert [row[1] for row in rows] == ["none", "dual"]
    assert float(rows[0][3]) > 0 and rows[0][-1] == ""
    assert rows[1][3:-1] == [""] * 8 and "cache=dual, but backbone 'Toy' offers for this model: none" in rows[1][-1]
    cells = document(bench("--cache", "none,dual", "--json"))["cells"]
    assert "reason" not in cells[0] and "offers for this model: none" in cells[1]["reason"]
    assert "tokens" not in cells[1]


@pytest.mark.parametrize("settings", [{}, {"ON_CPU": 1}], ids=["gpu", "cpu"])
def test_a_batch_that_does_not_fit_is_a_line_and_no_smaller_one_takes_its_place(bench: Any, settings: Any) -> None:
    rows = table(bench("--batch", "1,8,2", ROOM=2, **settings))
    assert [row[2] for row in rows] == ["1", "8", "2"]
    assert rows[1][-1] == "out of memory with 8 rows" and rows[1][3] == ""
    assert float(rows[0][3]) > 0 and float(rows[2][3]) > 0
    assert {width for width, _ in forwarded()} == {1, 8, 2}


def test_auto_halves_until_it_fits(bench: Any) -> None:
    rows = table(bench("--batch", "auto,1", ROOM=3))
    assert [row[2] for row in rows] == ["2 (auto)", "1"]
    assert {width for width, _ in forwarded()} == {8, 4, 2, 1}
    cell = document(bench("--batch", "auto", "--json", ROOM=3))["cells"][0]
    assert (cell["batch"], cell["asked"], cell["tokens"]) == (2, "auto", 8)


def test_if_no_cell_can_be_measured_it_is_an_error_that_says_why(bench: Any) -> None:
    refused(bench("--batch", "auto", ROOM=0), "no cell of toy:0 could be measured", "out of memory with 1 row")
    refused(bench("--cache", "dual,prefix"), "confidence, cache dual, batch 1: cache=dual, but", "cache=prefix, but")


def test_prompts_are_random_ids_that_the_model_may_choose_the_same_in_every_batch(bench: Any) -> None:
    bench("--batch", "1,5", "--prompt-length", 6)
    found = prompts()
    assert sorted(found) == [0, 1, 2, 3, 4] and all(len(ids) == 1 for ids in found.values())
    drawn = [ids.split() for texts in found.values() for ids in texts]
    assert all(len(ids) == 6 for ids in drawn) and len({*map(tuple, drawn)}) == 5
    assert {int(token) for ids in drawn for token in ids} <= set(range(1, 11)), "no padding, mask or unused id"
    bench("--batch", "5", "--prompt-length", 6)
    assert prompts() == found
    bench("--batch", "5", "--prompt-length", 6, "--seed", 1)
    assert prompts() != found


def test_lengths_and_repeats_are_obeyed(bench: Any) -> None:
    bench("--prompt-length", 2, "--length", 5, "--repeats", 2)
    assert forwarded() == [(1, 7)] * 5 * 3, "five steps, twice and once to warm up"


def test_without_a_length_it_is_the_sampler_s_then_the_model_s(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdmkit.cli.cases.DEFAULT_LENGTH", 9)
    Path("short.yaml").write_text("sampler: confidence\nplan: {length: 2}\n")
    words = ["bench", "--plugin", "toys.py", "--model", "toy:0", "--prompt-length", "1", "--json", "--batch", "1"]

    def cells(*more: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(registry, "_default", None)
        return document(CliRunner().invoke(main, [*words, *more, "--repeats", "1"]))["cells"]

    found = cells("--samplers", "short.yaml,confidence")
    assert [(cell["sampler"], cell["tokens"]) for cell in found] == [("short", 2), ("confidence", 8)]
    Path("other").mkdir()
    Path("other/short.yml").write_text("sampler: entropy\n")
    refused(bench("--samplers", "short.yaml,other/short.yml"), "two of them are called 'short'. Rename a file.")
    assert cells("--samplers", "confidence", "--model-option", "length=null")[0]["tokens"] == 9


def test_a_setting_holds_for_every_sampler(bench: Any) -> None:
    rows = document(bench("--json", "--samplers", "confidence,entropy", "--set", "plan.tokens_per_step=2"))["cells"]
    assert [cell["steps"] for cell in rows] == [2, 2]


def test_rows_do_not_end_early_unless_it_is_asked_for(bench: Any) -> None:
    words = ["--model", "ending:toy:0", "--json", "--length", 6, "--set", "plan.block=2"]
    assert document(bench(*words))["cells"][0]["tokens"] == 6
    assert document(bench(*words, "--set", "plan.early_stop=true"))["cells"][0]["tokens"] == 2


def test_the_result_is_written_to_a_file_in_the_form_of_its_suffix(bench: Any) -> None:
    for name in ("costs.md", "costs.json"):
        result = bench("--output", name)
        assert result.exit_code == 0 and result.stdout == f"{name}: 1 of 1 cells could be measured.\n"
    assert "| confidence | none  |" in Path("costs.md").read_text()
    assert json.loads(Path("costs.json").read_text())["cells"][0]["tokens"] == 4
    refused(bench("--output", "costs.md"), "--output costs.md: the file exists")
    assert bench("--output", "costs.md", "--overwrite", "--batch", 2).exit_code == 0
    assert "|     2 |" in Path("costs.md").read_text()
    assert bench("--output", "bare", "--json").exit_code == 0
    assert json.loads(Path("bare").read_text())["repeats"] == 1
    refused(bench("--output", "costs.png"), ".png says another format")
    refused(bench("--output", "new.md", "--json"), "--json and --output new.md")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "seed=3"], "--set seed=3: seed is set by --seed"),
        (["--set", "cache=dual"], "cache is set by --cache"),
        (["--set", "plan.length=3"], "plan.length is set by --length"),
        (["--set", "plan.lenght=3"], "lenght"),
        (["--set", "cache.refresh_every=4"], "Add --cache prefix,dual."),
        (["--set", "cache.refresh_every=4", "--cache", "none,dual"], "Add --cache prefix,dual."),
        (["--set", "cache.refresh_every=4", "--cache", "dual,auto"], "Add --cache prefix,dual."),
        (["--set", "cache.refresh_every=0", "--cache", "dual"], "it is a number of steps, at least 1"),
        (["--samplers", "confidense"], "Did you mean 'confidence'?"),
        (["--samplers", "confidence,confidence"], "occurs twice"),
        (["--cache", "none,duall"], "unknown cache 'duall'"),
        (["--batch", "1,01"], "--batch '1,01': 1 occurs twice"),
        (["--batch", "1,none"], "'none' is not a number of rows from 1, and not auto"),
        (["--model", "pictures:toy:0"], "fills images"),
        (["--prompt-length", "300"], "does not fit model toy:0"),
        (["--model", "toy:x"], "a toy is named by the seed"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_decoded(bench: Any, options: list[str], said: str) -> None:
    refused(bench(*options), said)
    assert not Path("widths").exists()


def test_ctrl_c_keeps_what_was_measured(bench: Any) -> None:
    result = bench("--batch", "1,2", STOP_AT=11)  # eight forwards of the first cell, then three of the second
    assert result.exit_code == 130
    assert "| confidence | none  |     1 |" in result.stdout and "|     2 |" not in result.stdout
    assert "Stopped: 1 of 2 cells were measured." in result.stderr
    result = bench("--batch", "1,2", STOP_AT=3)
    assert (result.exit_code, result.stdout) == (130, "")


def test_a_long_run_says_how_far_it_is(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench("--batch", "1,2").stderr == ""
    monkeypatch.setattr("mdmkit.cli.bench.QUIET_SECONDS", -1)
    said = bench("--batch", "1,2").stderr.splitlines()
    assert said == ["confidence, cache none, batch 1: 1 of 2 cells", "confidence, cache none, batch 2: 2 of 2 cells"]


def test_a_peak_that_is_not_the_cell_s_own_is_marked(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert document(bench("--json"))["cells"][0]["peak_of"] in ("cell", "process")
    monkeypatch.setattr("mdmkit.model.peak.Peak.reset", lambda self: False)
    result = bench()
    assert table(result)[0][-1].endswith("*")
    assert "* the peak of the whole process so far" in result.stdout
    assert document(bench("--json"))["cells"][0]["peak_of"] == "process"
