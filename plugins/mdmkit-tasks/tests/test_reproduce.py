"""`mdmkit reproduce`: the tables are whole, a dry run imports no torch, and what can be run is run and gone on with."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mdmkit.cli import main
from mdmkit.config.facts import facts
from mdmkit.installed import registry
from mdmkit.installed.registry import first_party
from mdmkit_tasks.public.data import FromData
from mdmkit_tasks.reproduction import machine
from mdmkit_tasks.reproduction.experiment import read_table
from mdmkit_tasks.reproduction.page import results_page

TABLES = ("reasoning", "writing", "images")
DREAM = "Dream-org/Dream-v0-Instruct-7B"
# No such task or data set is installed: the dry run says so.
ABSENT = {"geneval", "imagenet512"}


@pytest.fixture(autouse=True)
def _own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_default", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["reproduce", *words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that reads characters, and has an end token."""
    pytest.importorskip("mdmkit_text")
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EOS]", "\n", *map(chr, range(32, 127))]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    core.decoder = decoders.Fuse()
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask", "eos")}
    PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 5, "num_key_value_heads": 2, "is_causal": False}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), **size, **ends)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("table", TABLES)
def test_what_a_table_names_is_there(table: str) -> None:
    found = read_table("info_gain", table, None, None)  # resolves every preset, and compares N, tau and gamma
    tasks = {group.task for group in found.groups}
    assert tasks - set(first_party()["mdmkit-tasks"]["task"]) == tasks & ABSENT
    assert tasks == set(found.about["tasks"]) and {g.model for g in found.groups} == set(found.about["models"])
    parts = registry.default()
    for task in tasks - ABSENT:
        cls = parts.load(parts.find("task", task))
        assert found.about["tasks"][task].get("data") == (cls.hub[0] if issubclass(cls, FromData) else None)
    assert all(group.seeds >= 1 and group.prompts >= 100 for group in found.groups)
    for name in {name for group in found.groups for name in group.samplers}:
        assert facts(parts.find("sampler", name), parts).problem is None
    keys = {(g.model, g.task, g.tokens_per_step) for g in found.groups}
    assert {(r["model"], r["task"], r.get("tokens_per_step")) for r in found.about["reported"]} <= keys


def test_the_papers_settings() -> None:
    groups = read_table("info_gain", "reasoning", None, None).groups
    assert len(groups) == 6 * 2 + 2 * 4 * 2 and {group.seeds for group in groups} == {5}
    dream = next(group for group in groups if (group.task, group.tokens_per_step) == ("math500", 2))
    assert {"plan.length=512", "plan.tokens_per_step=2", "draw.temperature=0.0"} <= set(dream.overrides)
    assert {g.temperature for g in groups if g.model != DREAM} == {0.7}
    writing = read_table("info_gain", "writing", None, None).groups
    assert [(g.tokens_per_step, g.temperature) for g in writing] == [(k, t) for k in (1, 2) for t in (0.5, 1.0, 1.5)]
    images = read_table("info_gain", "images", None, None).groups[0]
    assert {"plan.steps=50", "plan.schedule=cosine", "guidance.scale=4.5"} <= set(images.overrides)
    assert images.forwards == {"info_gain@t2i": 16} | dict.fromkeys(images.samplers[1:], 2)


def test_the_dry_run_of_every_table_imports_no_torch(tmp_path: Path) -> None:
    code = f"""
import sys
from click.testing import CliRunner
from mdmkit.cli import main
for table in {TABLES!r}:
    found = CliRunner().invoke(main, ["reproduce", "info_gain", "--table", table, "--dry-run"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    print(found.output)
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert not list(tmp_path.iterdir())
    for words in ("| gsm8k | info_gain@gsm8k | 2 | 0 | 1319 | 5 |", "info_gain@writing | 2 | 1.5 | 200 | 1 |"):
        assert words in said.stdout
    assert "no task 'geneval' is installed" in said.stdout and "--task-option judge_url=" in said.stdout


def test_a_dry_run_counts_and_says_what_is_missing(tiny: Path) -> None:
    words = ("info_gain", "--table", "reasoning", "--dry-run", "--limit", "2", "--seeds", "3", "--forward-ms", "3600")
    page = run(*words, "--model", f"{DREAM}={tiny}", "--tasks", "countdown_text,sudoku4_text,gsm8k")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    found = {(c[0], c[1], c[2], c[3]): c for c in cells}
    # 48 tokens, one block, 8 candidates, and one forward to begin with; 2 prompts, 3 seeds.
    cell = found[DREAM, "countdown_text", "info_gain@countdown", "1"]
    assert cell[5:] == ["2", "3", f"{6 * 8 * 49:,}", f"{6 * 8 * 49 / 1000:.1f}", "yes"]
    assert found[DREAM, "countdown_text", "random", "2"][7] == f"{6 * 25}"
    assert "--data gsm8k=FILE" in found[DREAM, "gsm8k", "margin", "1"][9]
    assert "--data gsm8k=FILE; " in found["JetLM/SDAR-8B-Chat", "gsm8k", "margin", "1"][9]  # nor is the model here
    Path("rows.jsonl").write_text('{"question": "1 + 1?", "answer": "#### 2"}\n')
    page = run(*words, "--model", f"{DREAM}={tiny}", "--tasks", "gsm8k", "--data", "gsm8k=rows.jsonl")
    assert sum(line.endswith("| yes |") for line in page.splitlines()) == 14


def test_it_runs_what_it_can_and_goes_on(tiny: Path) -> None:
    words = ("info_gain", "--table", "reasoning", "--tasks", "sudoku4_text", "--seeds", "1", "--output", "out")
    here = (*words, "--model", f"{DREAM}={tiny}")
    page = run(*here, "--limit", "2")
    folder = Path("out", DREAM.replace("/", "_"), "sudoku4_text")
    for k in (1, 2):
        group = next(g for g in read_table("info_gain", "reasoning", 2, 1).groups
                     if (g.task, g.tokens_per_step) == ("sudoku4_text", k))  # fmt: skip
        for sampler in group.samplers:
            rows = lines(folder / f"K{k}-t0.0" / "rows" / "sudoku4_text" / f"{sampler.replace('@', '_')}.jsonl")
            assert len(rows) == 2
            assert 2 <= sum(row["nfe"] for row in rows) <= group.row_forwards(sampler)
    record = json.loads((folder / "K2-t0.0" / "run.json").read_text())
    assert {s["plan"]["tokens_per_step"] for s in record["samplers"]} == {2}
    assert {s["draw"]["end_penalty"] for s in record["samplers"]} == {4.0}
    shown = next(line for line in page.splitlines() if line.startswith("| info_gain@sudoku "))
    assert "| 77.4 |" in shown and "| 5.54 |" in shown and shown.endswith("| 2 | 1 |")
    gains = [line for line in page.splitlines() if "points over the baseline" in line and DREAM in line]
    assert [line[-9:] for line in gains] == ["2.9 | – |", "3.6 | – |"], "one task is no average over six"
    assert Path("out/reproduction.md").read_text() in page

    kept = folder / "K1-t0.0" / "rows" / "sudoku4_text" / "margin.jsonl"
    before = kept.read_bytes()
    kept.write_bytes(before[: before.index(b"\n") + 9])  # killed in the second row
    others = {path: path.read_bytes() for path in folder.glob("*/rows/*/*.jsonl") if path != kept}
    run(*here, "--limit", "2")
    assert [row["text"] for row in lines(kept)] == [json.loads(line)["text"] for line in before.splitlines()]
    assert {path: path.read_bytes() for path in others} == others

    page = run(*here, "--limit", "3", code=3)  # another run's rows: left alone, and said
    assert "## Not run" in page and "is of another run" in page and "prompts" in page
    assert {path: path.read_bytes() for path in others} == others


def test_averages_and_win_rates_are_set_beside_the_reported() -> None:
    def cell(score: float, uncertainty: float, measure: str = "accuracy") -> dict[str, Any]:
        return {"score": score, "score_error": 0.01, "uncertainty": uncertainty, "nfe": 9.0, "prompts": 4, "seeds": 2,
                "measure": measure}  # fmt: skip

    found = read_table("info_gain", "reasoning", None, None)
    own = [group for group in found.groups if (group.model, group.tokens_per_step) == (DREAM, 1)]
    measured = {g: {name: cell(0.5 - 0.1 * i, 10 + 10 * i) for i, name in enumerate(g.samplers)} for g in own}
    page = results_page(found, own, measured, {})
    assert f"| {DREAM} | 1 | points over the baseline with the best mean | 2.9 | +10.0 |" in page
    assert f"| {DREAM} | 1 | H̃, % of the baseline with the lowest | 50.8 | 50.0 |" in page
    assert f"| {DREAM} | 2 | points over the baseline with the best mean | 3.6 | – |" in page
    assert "| info_gain@math500 | 50.0 ± 1.0 | 44.8 | 10.00 | 100.32 | 9.0 | 4 | 2 |" in page

    found = read_table("info_gain", "writing", None, None)
    group = found.groups[0]
    page = results_page(found, [group], {group: {name: cell(0.3, 1, "win rate") for name in group.samplers}}, {})
    assert "| margin | 70.0 ± 1.0 |" in page and "| info_gain@writing |  |" in page


def test_what_stands_in_for_a_model_and_does_not_fit_is_told_of() -> None:
    pytest.importorskip("mdmkit_zoo")
    words = ("info_gain", "--table", "reasoning", "--tasks", "sudoku4_text", "--limit", "2", "--output", "out")
    page = run(*words, "--model", f"{DREAM}=zoo:puzzles", code=3)
    assert page.count("does not fit model zoo:puzzles") == 2 and not Path("out").exists()


def test_the_settings_of_blocks_are_not_put_on_a_model_without_blocks(tiny: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    shutil.copytree(tiny, "bert")
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vocab = json.loads(Path("bert/config.json").read_text())["vocab_size"]
    BertForMaskedLM(BertConfig(vocab_size=vocab, pad_token_id=0, **size)).save_pretrained("bert")
    Path("rows.jsonl").write_text('{"question": "1 + 1?", "answer": "#### 2"}\n')
    words = ("info_gain", "--table", "reasoning", "--tasks", "gsm8k", "--data", "gsm8k=rows.jsonl", "--output", "out")
    page = run(*words, "--model", "JetLM/SDAR-8B-Chat=bert", code=3)
    row = next(line for line in page.splitlines() if line.startswith("| JetLM/SDAR-8B-Chat | gsm8k | 1 |"))
    assert "block_length" in row and not Path("out").exists()


def test_a_model_and_data_are_looked_for_in_the_caches_then_on_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    group = read_table("info_gain", "reasoning", None, None).groups[0]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("os.sysconf", lambda name: 16_000_000_000 if name == "SC_PHYS_PAGES" else 1)
    monkeypatch.setattr(machine.Path, "exists", lambda self: False)  # no GPU
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "data"))
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def why(dtype: str) -> str:
        machine._hub.cache_clear()
        return machine.obstacle(group, {}, {}, {}, dtype)

    assert "the weights take 30 GB of 16 GB memory" in why("auto")
    assert why("bfloat16").count("HF_HUB_OFFLINE is set") == 2  # neither data nor model
    monkeypatch.undo()
    (tmp_path / "data" / "openai___gsm8k").mkdir(parents=True)
    place = tmp_path / "hub" / "models--Dream-org--Dream-v0-Instruct-7B"
    (place / "snapshots" / "a").mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("a")
    (place / "snapshots" / "a" / "config.json").write_text("{}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("os.sysconf", lambda name: 160_000_000_000 if name == "SC_PHYS_PAGES" else 1)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "data"))
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert why("auto").startswith("the model is not here"), "a configuration is no weights"
    (place / "snapshots" / "a" / "model.safetensors").write_text("")
    assert why("auto") == ""

    (place / "snapshots" / "a" / "model.safetensors").unlink()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # answers 501
    threading.Thread(target=server.handle_request, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert why("auto") == ""
    server.server_close()
    assert "the hub does not answer" in why("auto")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("info_gian", "--table", "images"), "Did you mean 'info_gain'?"),
        (("info_gain", "--table", "reasonning"), "Did you mean 'reasoning'?"),
        (("info_gain", "--table", "images", "--tasks", "genevall"), "Did you mean 'geneval'?"),
        (("info_gain", "--table", "reasoning", "--model", "Dream=."), "Known: Dream-org/Dream-v0-Instruct-7B"),
        (("info_gain", "--table", "reasoning", "--model", f"{DREAM}=nowhere"), "no such directory"),
        (("info_gain", "--table", "reasoning", "--data", "gsm8k"), "write it as TASK=FILE"),
        (("info_gain", "--table", "reasoning", "--data", "gsm8k=no.jsonl"), "no such file"),
    ],
)
def test_a_slip_is_named(words: tuple[str, ...], says: str) -> None:
    said = " ".join(run(*words, "--dry-run", code=2).split())
    assert says in said
