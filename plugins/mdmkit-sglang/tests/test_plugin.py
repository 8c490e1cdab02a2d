"""How SGLang finds the algorithm, and that a wrong m.yaml ends the launch before the model is loaded."""

from __future__ import annotations

import importlib
import logging
import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sglang_rounds import Request, configured

from mdmkit import MdmkitError
from mdmkit_sglang.requests import HEALTH, UNUSED

pytestmark = pytest.mark.sglang
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def test_sglang_loads_the_plugin_and_knows_its_name(sglang, monkeypatch, caplog):
    groups = PROJECT["entry-points"]
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda group: [EntryPoint(name, value, group) for name, value in groups.get(group, {}).items()],
    )
    monkeypatch.delitem(sglang.algo_name_to_cls, "Mdmkit")
    with caplog.at_level(logging.INFO):
        importlib.import_module("sglang.srt.plugins").load_plugins()
    assert "Executed general plugin: mdmkit" in caplog.text
    assert sglang.get_algorithm_cls("Mdmkit").__module__ == "mdmkit_sglang.algorithm"
    assert set(sglang.algo_name_to_cls) >= {"LowConfidence", "Mdmkit"}


def launched(sglang: Any, tmp_path: Path, text: str, architecture: str = "SDARForCausalLM") -> Any:
    """What a launch asks of the algorithm while it reads its arguments."""
    (tmp_path / "m.yaml").write_text(text)
    model = SimpleNamespace(hf_config=SimpleNamespace(architectures=[architecture]))
    args = SimpleNamespace(
        dllm_algorithm="Mdmkit",
        dllm_algorithm_config=str(tmp_path / "m.yaml"),
        dllm_fdfo=True,
        max_running_requests=32,
        model_path="model",
        revision=None,
        model=model,
    )
    sglang.get_algorithm_cls("Mdmkit").configure_server_args(args)
    return importlib.import_module("sglang.srt.dllm.algorithm.base").DllmAlgorithm.from_server_args(args)


def test_a_launch_reads_m_yaml(sglang, tmp_path):
    algorithm = launched(sglang, tmp_path, "sampler: info_gain\nselect: {candidates: 4}\nblock_size: 8\n")
    assert (algorithm.block_size, algorithm.mask_id, algorithm.fdfo) == (8, 151669, True)
    assert algorithm.sampler.select.candidates == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sampler: beam", "search 'beam'"),
        ("sampler: confidence\nguidance: {scale: 2}", "guidance.scale=2"),
        ("sampler: confidence\ninfill: true", "infill cannot be set here"),
        ("sampler: confidence\nplan: {block: 8}", "does not divide SGLang's block of 4"),
        ("sampler: confidence\nthreshold: 0.9", "unknown key 'threshold'"),
        ("", "a sampler needs a score and a select"),
    ],
)
def test_a_wrong_m_yaml_ends_the_launch(sglang, tmp_path, text, said):
    with pytest.raises(MdmkitError, match="--dllm-algorithm-config: ") as error:
        launched(sglang, tmp_path, text)
    assert said in str(error.value)


def test_a_model_of_another_kind_is_refused(sglang, tmp_path):
    """By SGLang, which reads the list of architectures."""
    with pytest.raises(ValueError, match="DiffusionGemmaForBlockDiffusion"):
        launched(sglang, tmp_path, "sampler: confidence", "DiffusionGemmaForBlockDiffusion")


@pytest.mark.parametrize(
    ("file", "lines"),
    {
        "managers/schedule_batch.py": [
            *(rf"^        self\.{name}\b.* = " for name in ("rid", "origin_input_ids", "sampling_params", "tokenizer")),
            *(rf"^        self\.{name}\b.* = " for name in ("return_logprob", "custom_logit_processor", "to_finish")),
            *(r"^        self\.eos_token_ids = ", r"^    def finished\(self\)", r"^class FINISH_ABORT"),
        ],
        "sampling/sampling_params.py": [rf"^    {name}: " for name in (*UNUSED, "sampling_seed", "ignore_eos")],
        "managers/scheduler.py": [r"if error_msg := self\.validate_dllm_request\(req\)"],
        "managers/tp_worker.py": [r"self\.dllm_algorithm\.run\(self\.model_runner, forward_batch, algo_states\)"],
        "model_executor/forward_batch_info.py": [r"rids=\[req\.rid for req in batch\.reqs\]"],
        "constants.py": [rf'HEALTH_CHECK_RID_PREFIX = "{HEALTH}"'],
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_read_of_sglang_is_there(sglang, file, lines):
    """In files that cannot be imported without a GPU."""
    source = (Path(sglang.__file__).parents[2] / file).read_text()
    assert [line for line in lines if not re.search(line, source, re.M)] == []


def test_requests_are_refused_through_sglangs_own_check(sglang):
    config = configured({"sampler": "confidence"})
    sglang.get_algorithm(config)
    assert config.validate_request(Request("a", [5], 8)) is None
    assert "logprobs" in config.validate_request(Request("a", [5], 8, return_logprob=True))
