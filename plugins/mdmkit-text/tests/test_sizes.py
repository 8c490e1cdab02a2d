"""A config.json that asks for more than the weights hold is refused before a model of these sizes is built."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file, save_file

from mdmkit import MdmkitError
from mdmkit_text import building
from mdmkit_text.backbone import TextBackbone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MILLION = 10**6
SDAR = {"model_type": "sdar", "architectures": ["SDARForCausalLM"], "rope_theta": 1e4, "mask_token_id": 4}
EXPERTS = {"num_experts": MILLION, "num_experts_per_tok": 1, "moe_intermediate_size": 10}
READ = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: Any) -> None:
        raise AssertionError("a model is built")

    monkeypatch.setattr(building, "load_model", build)


def save(model: Any, folder: Path, **changes: Any) -> Path:
    """Save a model without a tokenizer, and change its config.json."""
    model.save_pretrained(folder)
    return change(folder, **changes)


def change(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(MdmkitError) as caught:
        TextBackbone.load(str(folder), mask_id=4)
    assert "\n" not in str(caught.value), "an error is one paragraph"
    return str(caught.value)


def test_parameters_that_no_file_holds_are_refused_by_name(build: Callable[..., Path], unbuilt: None) -> None:
    folder = build("qwen3")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(SDAR | EXPERTS | {name: config[name] for name in (*READ, "vocab_size", "head_dim")})
    )
    error = refusal(folder)
    assert "missing: model.layers.0.mlp.experts.gate_up_proj, model.layers.1.mlp.experts.gate_up_proj, " in error
    assert "The model has 1,984,008,128 numbers, and the files hold 17,344." in error


def test_weights_under_other_names_are_counted(tmp_path: Path, unbuilt: None) -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    sizes = dict.fromkeys(READ, 2) | {"hidden_size": 8, "vocab_size": 28, "num_local_experts": 3}
    model = MixtralForCausalLM(MixtralConfig(**sizes, is_causal=False))
    error = refusal(save(model, tmp_path, num_local_experts=300_000))
    assert "the weights do not fit MixtralForCausalLM" in error
    assert "missing: model.layers.0.mlp.experts.gate_up_proj" in error


def test_a_list_of_modules_is_given_up_while_it_is_built(build: Callable[..., Path], unbuilt: None) -> None:
    error = refusal(change(build("albert"), num_hidden_groups=MILLION))
    assert "asks for a model of more than 1224 parameters, and the weights have 28 tensors" in error


def test_a_table_that_a_class_computes_is_no_larger_than_the_weights(tmp_path: Path, unbuilt: None) -> None:
    from transformers import XGLMConfig, XGLMForCausalLM

    sizes = {"vocab_size": 28, "d_model": 8, "ffn_dim": 16, "num_layers": 1, "attention_heads": 2}
    model = XGLMForCausalLM(XGLMConfig(**sizes, is_causal=False))
    error = refusal(save(model, tmp_path, max_position_embeddings=10 * MILLION))
    assert "asks for a table of 80,000,016 numbers (model.embed_positions.weights)" in error


def test_a_trunk_without_its_head_lacks_only_the_head(build: Callable[..., Path], unbuilt: None) -> None:
    folder = build("llama")
    weights = load_file(folder / "model.safetensors")
    trunk = {name.removeprefix("model."): weight for name, weight in weights.items() if name.startswith("model.")}
    save_file(trunk, folder / "model.safetensors", metadata={"format": "pt"})
    assert "missing: lm_head.weight. The model has " in refusal(folder)


def test_a_trunk_may_be_named_without_its_prefix(build: Callable[..., Path]) -> None:
    folder = build("llama")
    weights = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("model."): weight for name, weight in weights.items()}
    save_file(bare, folder / "model.safetensors", metadata={"format": "pt"})
    loaded = TextBackbone.load(str(folder)).network.model.state_dict()
    assert (loaded["model.norm.weight"] == weights["model.norm.weight"]).all()
