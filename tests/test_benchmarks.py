"""The scripts that measure large models, tried on miniatures with the same names and formats."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import safe_open

import mdmkit

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import random_checkpoint

    return random_checkpoint


@pytest.mark.parametrize("name", ["llada-8b", "dream-7b", "sdar-8b"])
def test_a_random_checkpoint_loads_and_decodes_whatever_its_shards(name: str, script: Any, tmp_path: Path) -> None:
    shape = script.shape_of(name, layers=3, small=True)
    count = script.write(name, tmp_path, shape, shard_bytes=40_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert files == sorted({*index["weight_map"].values()})
    assert len(files) > 3
    held = 0
    for file in files:
        with safe_open(tmp_path / file, "pt") as shard:
            sizes = [shard.get_tensor(key).nbytes for key in sorted(shard.keys())]
        assert sum(sizes) <= 40_000
        held += sum(sizes)
    assert held == 2 * count == index["metadata"]["total_size"]

    backbone = mdmkit.load(str(tmp_path), dtype="bfloat16")
    assert backbone.weights == count
    assert backbone.mask_id == shape.mask
    assert backbone.cache == ("block" if name == "sdar-8b" else "none")
    sampler = mdmkit.compose("confidence", plan={"length": 12, "block": 4})
    (row,) = mdmkit.decode(sampler, backbone, [[5, 7, 9]]).rows
    assert len(row.tokens) == 12
    assert len({*row.tokens}) > 2, "positions differ"


def test_real_shapes_have_as_many_weights_as_the_models(script: Any) -> None:
    """8.02 billion (LLaDA's card), 7.62 (Qwen2.5-7B's, on which Dream stands), 8.19 (Qwen3-8B's)."""
    for name, billions in (("llada-8b", 8.02), ("dream-7b", 7.62), ("sdar-8b", 8.19)):
        build, shape = script.MODELS[name]
        count = sum(torch.Size(dims).numel() for dims in build(shape)[1].values())
        assert count / 1e9 == pytest.approx(billions, abs=0.01)


def test_the_benchmark_of_large_models_writes_its_page(tmp_path: Path) -> None:
    page = tmp_path / "results" / "page.md"
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--small", "--device", "cpu", "--dtype", "float32"]
    command += ["--models", "llada-8b", "--caches", "none,no-such-cache", "--samplers", "info_gain, γ off"]
    command += ["--length", "8", "--block", "4", "--batches", "1,2", "--work", str(tmp_path), "--output", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "--caches none,no-such-cache" in text
    assert f"torch {torch.__version__}" in text
    rows = re.findall(
        r"^\| info_gain, γ off \| none \| (\d) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.M
    )
    assert [row[0] for row in rows] == ["1", "2"]
    assert all(float(row[1]) > 0 and float(row[3]) > 1 for row in rows)
    assert "unknown cache 'no-such-cache'" in text
    assert [path.name for path in tmp_path.iterdir()] == ["results"], "the checkpoints are gone"


def test_steps_beside_a_captured_loop_in_miniature(tmp_path: Path) -> None:
    """On a CPU nothing is captured; the loop beside is the same, and writes the same tokens."""
    page = tmp_path / "steps.md"
    command = [sys.executable, str(BENCHMARKS / "steps.py"), "--small", "--device", "cpu", "--dtype", "float32"]
    command += ["--only", "block 32, batch 1", "--ways", "confidence", "--pairs", "1"]
    command += ["--length", "64", "--prompt", "8", "--prefix", "64", "--output", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "llada-8b, dual, block 32, batch 1: the captured loop writes the same tokens" in done.stderr
    row = r"^\| llada-8b, dual, block 32, batch 1 \| ([\d.]+) \| ([\d.]+) \(([\d.]+)\) \|"
    ((least, ours, ratio),) = re.findall(row, page.read_text(), re.M)
    assert float(ratio) == pytest.approx(float(ours) / float(least), rel=0.05)
    assert len(re.findall(r"^\| llada-8b, prefix( \| [\d.]+){6} \|$", page.read_text(), re.M)) == 1


def test_without_a_gpu_it_says_how_to_try_it(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--device", "cuda", "--output", str(tmp_path / "page.md")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 2
    assert "--device cpu --layers 2" in done.stderr


@pytest.mark.slow
def test_the_start_is_measured_beside_that_of_another_checkout(tmp_path: Path) -> None:
    """Beside a copy in which the puzzle model does not ask for its own decoder, so that transformers is imported."""
    other = tmp_path / "other"
    shutil.copytree(BENCHMARKS.parent / "mdmkit", other / "mdmkit")
    for source in (BENCHMARKS.parent / "plugins").glob("*/src"):
        shutil.copytree(source, other / source.relative_to(BENCHMARKS.parent))
    settings = other / "plugins/mdmkit-zoo/src/mdmkit_zoo/models/puzzles/mdmkit.json"
    settings.write_text(settings.read_text().replace('"plain": true', '"plain": false'))
    command = [sys.executable, str(BENCHMARKS / "startup.py"), "--beside", str(other), "--rounds", "1"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    alone, here, there = json.loads(done.stdout)
    assert [row["command"] for row in (alone, here, there)] == [
        "import torch",
        "mdmkit decode",
        f"mdmkit decode, {other}",
    ]
    assert alone["ratio"] == 1.0
    assert here["ratio"] == pytest.approx(here["cpu"] / alone["cpu"])
    assert there["ratio"] == pytest.approx(there["cpu"] / alone["cpu"])
    failed = subprocess.run([*command, "--model", "zoo:no-such"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and "unknown model of the zoo" in failed.stderr


@pytest.mark.slow
def test_two_checkouts_are_timed_beside_one_another(tmp_path: Path) -> None:
    """Beside a copy in which `confidence` fills all positions at once, so that it makes fewer calls."""
    other = tmp_path / "other"
    shutil.copytree(BENCHMARKS.parent / "mdmkit", other / "mdmkit")
    for source in (BENCHMARKS.parent / "plugins").glob("*/src"):
        shutil.copytree(source, other / source.relative_to(BENCHMARKS.parent), ignore=shutil.ignore_patterns("models"))
    preset = other / "plugins/mdmkit-heuristics/src/mdmkit_heuristics/presets/confidence.yaml"
    preset.write_text(preset.read_text().replace("select: top_k", "select: {name: threshold, threshold: 0.0}"))
    command = [sys.executable, str(BENCHMARKS / "loop.py"), "--beside", str(other), "--pairs", "1", "--small"]
    done = subprocess.run(
        [*command, "--only", "confidence batch 8", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = {row["cell"]: row for row in json.loads(done.stdout)}
    assert {*rows} == {f"{name} confidence batch 8" for name in ("llada none", "llada dual", "sdar block")}
    assert rows["llada none confidence batch 8"]["calls"] == 32
    for row in rows.values():
        assert row["calls"] > 2 * row["calls_other"] and row["ratio"] > 1.5, row
        assert not row["same_tokens"] and row["pairs"] == 1
        assert row["ms"] > row["ms_other"] > 0


@pytest.mark.slow
def test_the_server_is_measured_beside_decode() -> None:
    command = [sys.executable, str(BENCHMARKS / "serve.py"), "--small", "--pairs", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["case"]: row for row in json.loads(done.stdout)}
    assert {*rows} == {"whole", "streamed", "llada-8b none", "llada-8b prefix", "llada-8b dual", "sdar-8b block"}
    for case in ("whole", "streamed"):
        assert rows[case]["same_tokens"] and rows[case]["pairs"] == 1 and rows[case]["wall"] > 0 < rows[case]["cpu"]
    for case in {*rows} - {"whole", "streamed"}:
        assert rows[case]["own_steps"] == 4 <= rows[case]["steps"] and rows[case]["alone"] > 0 < rows[case]["beside"]


@pytest.mark.slow
def test_the_server_is_measured_under_load() -> None:
    command = [sys.executable, str(BENCHMARKS / "serve_load.py"), "--small", "--json", "--minutes", "0.2"]
    done = subprocess.run(
        [*command, "--requests", "40", "--longest", "40"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = {row["case"]: row for row in json.loads(done.stdout)}
    assert {*rows} == {"once", "random", "bad"}
    for case in ("once", "random"):
        assert rows[case]["same_tokens"] and rows[case]["ours"]["calls"] > 40 and rows[case]["p50_ratio"] > 0
    assert rows["once"]["calls_ratio"] < 0.9
    bad = rows["bad"]
    assert bad["wrong"] == [] and set(bad["visits"]) == {"good", "leaving", "no_json", "huge", "odd_row", "slow"}


def test_timing_beside_no_checkout_is_refused(tmp_path: Path) -> None:
    for more, said in ((["--beside", str(tmp_path)], "holds mdmkit/"), (["--beside", ".", "--only", "x9"], "Cells: ")):
        command = [sys.executable, str(BENCHMARKS / "loop.py"), *more]
        done = subprocess.run(command, cwd=BENCHMARKS.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and said in done.stderr


@pytest.mark.slow
def test_the_comparison_with_public_loops_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loop is measured, does the same work as mdmkit, and writes the same tokens."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from peers_cells import QUICK, cells
    from peers_page import page

    place = tmp_path / "speed.md"
    command = [sys.executable, str(BENCHMARKS / "peers.py"), "--quick", "--output", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(place.with_suffix(".json").read_text())
    assert place.read_text() == page(told)
    assert told["missing"] == [] and told["machine"]["threads"] == 1 and told["machine"]["torch"] == torch.__version__
    assert [row["cell"] for row in told["rows"]] == [cell.name for cell in cells(QUICK)]
    for row in told["rows"]:
        assert 0 < row["least"] <= row["ratio"] <= row["most"], row
        assert 0 < row["share"] < 1 and row["theirs_ms"] > 0 and row["ours_ms"] > 0 and row["pairs"] == 2
        if row["peer"] == "Info-Gain authors":
            assert row["same"] is None and 1 < row["rows"] < 8 and 1 < row["rows_ours"] < 8
        else:
            # SDAR makes one call more for its prompt, and one for each of its blocks.
            more = {"block, of 4": 5 / 16, "block, of 16": 2 / 16}.get(row["cache"], 0)
            assert (row["same"], row["rows"], row["rows_ours"]) == (1, 1 + more, 1), row

    again = subprocess.run(
        [*command, "--only", "LLaDA", "none", "--pairs", "1", "--clock", "cpu"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    then = json.loads(place.with_suffix(".json").read_text())["rows"]
    assert [(row["pairs"], row["clock"]) for row in then[:2]] == [(1, "cpu")] * 2
    assert then[2:] == told["rows"][2:], "what was not measured again stays"


def test_the_page_of_speed_tells_the_numbers_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from peers_cells import SIZES, cells
    from peers_page import page

    place = BENCHMARKS.parent / "docs" / "results" / "speed.md"
    told = json.loads(place.with_suffix(".json").read_text())
    assert place.read_text() == page(told)
    known = [cell.name for cell in cells(SIZES)]
    found = [row["cell"] for row in told["rows"]]
    assert found and found == [name for name in known if name in found]
    assert told["missing"] == [name for name in known if name not in found]


def test_the_comparison_of_samplers_on_digits_in_miniature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("diffusers")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import digits

    monkeypatch.setattr(digits, "STEPS", (4,))
    monkeypatch.setattr(sys, "argv", ["digits.py", "--count", "20", "--output", str(tmp_path / "page.md")])
    digits.main()
    rows = json.loads((tmp_path / "page.json").read_text())["rows"]
    assert [(row["sampler"], row["steps"]) for row in rows] == [(name, 4) for name in digits.SAMPLERS]
    for row in rows:
        assert row["accuracy"] >= 0.8, row  # of ten classes
        assert (row["nfe"] > 4) == (row["sampler"] == "info_gain")
    assert {path.name for path in (tmp_path / "page").iterdir()} == {f"{name}.png" for name in digits.SAMPLERS}
    assert (tmp_path / "page.md").read_text() == digits.page(rows, 20)


def test_the_page_of_images_tells_the_numbers_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import digits

    page = BENCHMARKS.parent / "docs" / "results" / "images.md"
    told = json.loads(page.with_suffix(".json").read_text())
    assert page.read_text() == digits.page(told["rows"], told["count"])


def test_the_page_of_constraints_tells_the_numbers_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from constrain_page import page

    place = BENCHMARKS.parent / "docs" / "results" / "constraints.md"
    told = json.loads(place.with_suffix(".json").read_text())
    assert place.read_text() == page(told)
    assert {*told} == {"choices", "lengths", "puzzles"}


def test_draws_under_a_rule_are_held_against_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """In miniature: a chain of six words, answers of four. In one step `exact` is what rejection gives.

    In a random order, one word a step, draws without a rule are those of the chain. `confidence` prefers positions
    whose drawn words are probable, so its draws are not.
    """
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import constrain_chain

    from mdmkit_zoo.bigram.backbone import Bigram

    chances = torch.rand(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
    chain = Bigram(chances / chances.sum(1, keepdim=True), words=["a", "bc", "d", "efg", "h", "i"])
    monkeypatch.setattr(constrain_chain, "PROMPTS", ("a",))
    monkeypatch.setattr(constrain_chain, "CHOICES", 6)
    cells = {(c["order"], c["k"], c["draws"]): c for c in constrain_chain.choices(chain, 250)}
    assert cells["random", 1, "rejection"]["kl"] == pytest.approx(0, abs=1e-9)
    assert cells["confidence", 1, "rejection"]["kl"] > 0.01 < cells["random", 2, "rejection"]["kl"]
    for order in ("random", "confidence"):
        one = cells[order, 4, "exact"]
        assert one["kl"] == pytest.approx(cells[order, 4, "rejection"]["kl"], abs=0.1)
        assert cells[order, 1, "exact"]["kl"] > 4 * cells[order, 1, "exact"]["error"], "an approximation"
        assert 0 < cells[order, 4, "rejection"]["kept"] < cells[order, 1, "rejection"]["kept"] < 1


@pytest.mark.parametrize(("order", "k"), [("random", 2), ("confidence", 1), ("confidence", 2)])
def test_the_probability_of_a_text_is_that_of_the_draws(monkeypatch: pytest.MonkeyPatch, order: str, k: int) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import constrain_chain

    from mdmkit_zoo.bigram.backbone import Bigram

    chances = torch.rand(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) ** 2
    chain = Bigram(chances / chances.sum(1, keepdim=True), words=["a", "bc", "d"])
    monkeypatch.setattr(constrain_chain, "CHOICES", 8)
    answers, _ = constrain_chain.choices_of(chain, "a", 0)
    row = constrain_chain.encoded(chain, "a", 4)[0]
    want = [constrain_chain._chance(chain.chain, row, answer, order, k) for answer in answers]
    drawn = mdmkit.decode(constrain_chain.sampler(order, k, 4, None), chain, ["a"] * 1000, batch=500).texts
    for answer, chance in zip(answers, want, strict=True):
        found = drawn.count(chain.text(answer[-4:].tolist()))
        assert abs(found - 1000 * chance) < 4 * (1000 * chance * (1 - chance)) ** 0.5


def test_a_puzzle_under_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """No right answer breaks its rule, and rejection draws more than once."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from constrain_puzzles import cell, pattern

    from mdmkit_zoo.puzzles import texts

    assert pattern("sudoku4", "rows", "12_4/3_12/2143/4321") == "(34)/(34)"
    assert pattern("sudoku4", "rows", "123_/____/2143/4___").startswith("(4)/(1234|1243|1324|")
    for text in texts.countdown_texts()[::7]:
        asked = text[:9] + "___=__,___0_=__"
        assert re.fullmatch(pattern("countdown", "numbers", asked), text[9:])
        assert re.fullmatch(pattern("countdown", "form", asked), text[9:])
    backbone = mdmkit.load("zoo:puzzles", device="cpu")
    prompts = ["3,8,7>12:___=__,___0_=__", "9,2,4>11:___=__,___0_=__"]
    for mode in ("mask", "exact", "rejection"):
        found = cell(backbone, "countdown", "numbers", prompts, mode, 16, 1.0)
        assert found["kept"] == [1, 1] or mode == "rejection"
        assert 1 <= found["decodes"] <= 16 and (found["decodes"] > 1) == (mode == "rejection")


def test_the_cost_of_a_lookahead_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from peers_page import page

    place = tmp_path / "speed.md"
    shutil.copy(BENCHMARKS.parent / "docs" / "results" / "speed.json", tmp_path)
    before = json.loads(place.with_suffix(".json").read_text())
    command = [sys.executable, str(BENCHMARKS / "lookahead.py"), "--quick", "--pairs", "1", "--output", str(place)]
    done = subprocess.run([*command, "--only", "of 4"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(place.with_suffix(".json").read_text())
    assert place.read_text() == page(told) and told["rows"] == before["rows"]
    row = next(row for row in told["lookahead"]["greedy"] if row["cell"] == "block, of 4")
    assert 1 < row["alternatives"] < 4 and row["pairs"] == 1
    assert row["from"] == row["ratio"] == row["to"] == pytest.approx(row["wall"] / row["least"], rel=2e-3)
    wide = [row for row in told["lookahead"]["prefix"] if row["pairs"] == 1]
    assert [row["prefix"] for row in wide] == [8, 32]
    for row in wide:
        assert all(row[f"{part}_{way}"] > 0 for part in ("attention", "forward") for way in ("copies", "shared"))
    failed = subprocess.run([*command, "--only", "x9"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2 and "dual, of 32" in failed.stderr
