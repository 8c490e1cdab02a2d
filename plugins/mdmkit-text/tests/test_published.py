"""Every field of a published config, changed or left out: the logits of the reference class, or a refusal.

`published/` holds configs as they were published, with small sizes, and what the reference class computes for each
change (see published/record.py). For models of transformers' own classes, the class itself is asked.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from mdmkit import MdmkitError
from mdmkit_text.backbone import TextBackbone

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLISHED = Path(__file__).parent / "published"
GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
TOKENS = torch.arange(2, 14)[None]
_spec = importlib.util.spec_from_file_location("record", PUBLISHED / "record.py")
assert _spec is not None
assert _spec.loader is not None
_record = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_record)
# Changes that the reference class cannot be built from, and that leave the logits as they are.
DEFAULTS_OF_A_LARGE_MODEL = {"pad_token_id", "embedding_size", "vocab_size"}  # they do not fit the small vocabulary
NOT_FOR_DECODING = {"flash_attention", "use_cache", "output_router_logits", "fuse_cross_entropy"}
WEIGHTS_DECIDE = {"use_bias", "moe_layer_freq", "partial_rotary_factor", "shared_expert_intermediate_size"}
TOLERATED = DEFAULTS_OF_A_LARGE_MODEL | NOT_FOR_DECODING | WEIGHTS_DECIDE
# name -> (changes that are decoded, changes that are refused)
COUNTS = {
    "a2d": (43, 33),
    "dream": (44, 28),
    "fast_dllm_v2": (47, 28),
    "llada": (69, 48),
    "llada2": (71, 65),
    "llada21": (71, 65),
    "lladamoe": (55, 46),
    "sdar": (65, 33),
}


@torch.inference_mode()
def logits(backbone: Any, tokens: torch.Tensor) -> torch.Tensor:
    """[L, V] of token ids int64 [1, L]."""
    positions = torch.arange(tokens.shape[1])[None]
    hidden = backbone.forward(tokens, torch.ones_like(tokens, dtype=torch.bool), None, positions=positions).hidden
    return backbone.project(hidden)[0]


def outcome(
    folder: Path, config: dict[str, Any], field: str, value: list[Any] | None, mask: int
) -> torch.Tensor | None:
    """The logits of a checkpoint with a changed config, or None if it is refused."""
    changed = {k: v for k, v in config.items() if k != field} | ({} if value is None else {field: value[0]})
    (folder / "config.json").write_text(json.dumps(changed))
    try:
        backbone = TextBackbone.load(str(folder), mask_id=mask)
    except MdmkitError:
        return None
    return logits(backbone, TOKENS if mask > 100 else TOKENS + 3)


@pytest.mark.parametrize("name", [path.stem for path in sorted(PUBLISHED.glob("*.json"))])
def test_no_change_of_a_published_config_is_decoded_as_something_else(name: str, tmp_path: Path) -> None:
    published = json.loads((PUBLISHED / f"{name}.json").read_text())
    results = load_file(PUBLISHED / f"{name}.safetensors")["results"]
    shutil.copy(GOLDEN / published["weights"] / "model.safetensors", tmp_path)
    config, counts, silent = published["config"], Counter[str](), []
    for field, value, number in [["model_type", [config["model_type"]], 0], *published["cases"]]:
        found = outcome(tmp_path, config, field, value, 125)
        counts["refused" if found is None else "decoded"] += 1
        if found is None:
            continue
        expected = results[number] if number >= 0 else results[0] if field in TOLERATED else None
        if expected is None or (found[:, ::8] - expected).abs().max() > 1e-4:
            silent.append((field, value))
    assert silent == []
    assert {field for field, _, _ in published["cases"]} == {*config}
    assert (counts["decoded"], counts["refused"]) == COUNTS[name]


def asked(folder: Path) -> torch.Tensor | None:
    """What transformers' own class computes, without a causal mask; None if it cannot be built or misses weights."""
    import transformers

    from mdmkit_text.quiet import quiet

    config = json.loads((folder / "config.json").read_text())
    masked = "ForMaskedLM" in config["architectures"][0]
    auto = transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM
    full = torch.ones(1, 1, TOKENS.shape[1], TOKENS.shape[1], dtype=torch.bool)
    try:
        with quiet(), torch.inference_mode():
            model, report = auto.from_pretrained(folder, output_loading_info=True)
            if any(report[kind] for kind in ("missing_keys", "mismatched_keys", "unexpected_keys")):
                return None
            given = {} if masked else {"attention_mask": full, "use_cache": False}
            return model.eval()(TOKENS + 3, **given).logits[0]
    except Exception:  # a class may refuse a config in any way
        return None


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert", "esm", "llama", "qwen3"])
def test_no_change_of_a_config_is_decoded_as_something_else_than_its_class_computes(
    name: str, build: Callable[..., Path]
) -> None:
    folder = build(name, text=None)
    config, counts, silent = json.loads((folder / "config.json").read_text()), Counter[str](), []
    for field, value in config.items():
        for each in [None, *([other] for other in _record.other_values(field, value))]:
            found = outcome(folder, config, field, each, 4)
            counts["refused" if found is None else "decoded"] += 1
            if found is not None and field not in ("architectures", "model_type", "is_causal"):
                expected = asked(folder)
                if expected is None or (found - expected).abs().max() > 1e-4:
                    silent.append((field, each))
    assert silent == []
    # The exact numbers differ between versions of transformers, which add and check fields.
    assert counts["decoded"] >= 25
    assert counts["refused"] >= 20
