"""Several processes share one model: the rows are those of one process. `make test-tp` runs these."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import GOLDEN, changed
from divided import rows

import mdmkit

pytestmark = pytest.mark.tp
# family -> the golden checkpoint, what changes in config.json, options, the largest share of a process's weights.
FAMILIES = {
    "llada": ("llada", {}, {}, 0.52),
    "dream": ("dream", {}, {}, 0.52),
    "llada_moe": ("lladamoe", {}, {"mask_id": 125}, 0.55),
    "sdar": ("sdar", {}, {}, 0.52),
    "sdar-moe": ("lladamoe", {"architectures": [], "model_type": "sdar_moe"}, {"mask_id": 125}, 0.55),
    "llada2": ("llada2", {}, {"mask_id": 125, "block_length": 8}, 0.7),  # its attention is whole in both
    "fast_dllm_v2": ("dream", {"architectures": [], "model_type": "Fast_dLLM_Qwen", "bd_size": 8}, {}, 0.52),
}


def torchrun(*words: str, count: int = 2, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    given = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment
    return subprocess.run([*command, *words], capture_output=True, text=True, env=given, timeout=300, check=False)


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_are_those_of_one_process(name: str, tmp_path: Path) -> None:
    source, changes, options, most = FAMILIES[name]
    if name == "sdar-moe":
        config = json.loads((GOLDEN / source / "config.json").read_text())
        changes = changes | {"moe_intermediate_size": config["expert_intermediate_size"], "intermediate_size": 64}
    folder = changed(source, tmp_path, **changes)
    done = torchrun(str(Path(__file__).with_name("divided.py")), str(folder), json.dumps(options))
    assert done.returncode == 0, done.stderr
    (line,) = re.findall(r"^found (.*)", done.stdout, re.M)  # one process alone says so
    found = json.loads(line)
    assert found["share"] < most
    expected = json.loads(json.dumps(rows(mdmkit.load(str(folder), device="cpu", **options))))
    assert [*found["rows"]] == [*expected]
    for case, decoded in expected.items():
        for ours, theirs in zip(found["rows"][case], decoded, strict=True):
            assert ours[:2] == theirs[:2], case
            assert ours[2] == pytest.approx(theirs[2], abs=2e-4)


def test_the_first_process_alone_reads_and_writes(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt_ids": [5, 6, 10 + i], "length": 4 + i}) + "\n" for i in range(5)))
    command = ["decode", "--model", str(GOLDEN / "sdar"), "--device", "cpu", "--batch", "2", "--sampler", "info_gain"]
    command += ["--prompts", str(prompts), "--seed", "3", "--output"]
    done = torchrun("-m", "mdmkit", *command, str(tmp_path / "two.jsonl"), "--model-option", "tp=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("5 rows, 30 tokens") == 1
    alone = [sys.executable, "-m", "mdmkit", *command, str(tmp_path / "one.jsonl")]
    subprocess.run(alone, capture_output=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    read = [
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] for name in ("one.jsonl", "two.jsonl")
    ]
    assert [row["tokens"] for row in read[0]] == [row["tokens"] for row in read[1]]
    assert len({json.dumps(row["order"]) for row in read[1]}) > 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "torchrun has started 2 processes, and nothing divides the model over them"),
        (["--model-option", "tp=3"], "tp=3 divides the model over 3 processes, and here are 2"),
    ],
)
def test_what_is_wrong_is_said_once_and_nothing_is_written(tmp_path: Path, options: list[str], words: str) -> None:
    command = ["decode", "--model", str(GOLDEN / "sdar"), "--device", "cpu", "--prompt", "[5]", "--output"]
    done = torchrun("-m", "mdmkit", *command, str(tmp_path / "out.jsonl"), *options)
    assert done.returncode != 0
    assert done.stderr.count(words) == 1
    assert not [*tmp_path.iterdir()]
