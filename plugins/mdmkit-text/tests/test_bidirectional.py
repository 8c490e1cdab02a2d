"""A decoder with `is_causal: false` looks both ways, padded or not; any other is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from mdmkit import MdmkitError
from mdmkit_text.backbone import TextBackbone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "qwen3-moe"])
def test_the_last_token_changes_what_the_first_position_says(
    name: str, padding: int, loaded: Callable[[str], Any]
) -> None:
    backbone = loaded(name)
    tokens = torch.tensor([[5, 6, 7, 8] + [0] * padding, [5, 6, 7, 9] + [0] * padding])
    valid = torch.tensor([[True] * 4 + [False] * padding]).expand(2, -1)
    positions = torch.arange(4 + padding).expand(2, -1)
    with torch.inference_mode():
        first, other = backbone.forward(tokens, valid, None, positions=positions).hidden[:, 0]
    assert (first - other).abs().max() > 1e-3


def test_a_causal_decoder_is_refused_with_the_line_that_would_change_it(build: Callable[..., Path]) -> None:
    folder = build("llama")
    config = json.loads((folder / "config.json").read_text())
    del config["is_causal"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(MdmkitError, match=r'causal decoder \(model_type \'llama\'\).*"is_causal": false'):
        TextBackbone.load(str(folder))


def test_bert_as_a_decoder_is_no_masked_language_model(build: Callable[..., Path]) -> None:
    with pytest.raises(MdmkitError, match="causal decoder"):
        TextBackbone.load(str(build("bert", is_decoder=True)))


def test_a_class_that_stays_causal_is_found_out(build: Callable[..., Path]) -> None:
    with pytest.raises(MdmkitError, match="MambaForCausalLM cannot fill masks in"):
        TextBackbone.load(str(build("mamba")))
