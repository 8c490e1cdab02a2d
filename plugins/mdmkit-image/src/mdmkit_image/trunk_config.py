"""The config.json of a checkpoint in LLaDA's format: the fields that the trunk reads, and those that it must refuse."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from safetensors import safe_open

from mdmkit import MdmkitError, shown

# Values that the trunk computes; a field that is absent or null has them. None: the field must not be set.
COVERED = {
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "rope": True,
    "include_bias": False,
    "include_qkv_bias": False,
    "bias_for_layer_norm": False,
    "attention_layer_norm": False,
    "input_emb_norm": False,
    "scale_logits": False,
    "layer_norm_with_affine": True,
    "block_group_size": 1,
    "alibi": False,
    "clip_qkv": None,
    "rope_scaling": None,
    "partial_rotary_factor": 1,
    "block_size": None,
    "bd_size": None,
    "block_length": None,
    "quantization_config": None,
}
SIZES = ("d_model", "n_layers", "n_heads", "max_sequence_length")
# Sizes that may be absent, because they follow from others.
DERIVED = ("embedding_size", "vocab_size", "mlp_hidden_size", "mlp_ratio", "n_kv_heads")


def read_trunk_config(folder: Path) -> dict[str, Any]:
    """Read and check config.json.

    Raises:
        MdmkitError: it is no JSON object, lacks a field, or has a value that the trunk does not compute; or it asks for
            more layers than the weights have.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MdmkitError(f"{folder}: config.json cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise MdmkitError(f"{folder}: config.json is {shown(config)}, and must be an object.")
    _read_rope(folder, config)
    for field, value in COVERED.items():
        given = config.get(field)
        if given is not None and given != value:
            wanted = "must not have it" if value is None else f"has {value!r}"
            raise MdmkitError(f"{folder}: config.json says {field}={shown(given)}, and LLaDA {wanted}.")
    for field in SIZES:
        _check(folder, config, field, "a whole number of at least 1", _is_size(config.get(field)))
    for field in DERIVED:
        if config.get(field) is not None:
            _check(folder, config, field, "a whole number of at least 1, or null", _is_size(config[field]))
    heads = config["n_heads"]
    _check(folder, config, "n_heads", f"a divisor of d_model {config['d_model']}", config["d_model"] % heads == 0)
    mask, size = config.get("mask_token_id"), config.get("embedding_size") or config.get("vocab_size")
    is_id = _is_size(mask) or (mask == 0 and not isinstance(mask, bool))
    _check(folder, config, "mask_token_id", "a token id, or null", mask is None or is_id)
    _check(folder, config, "vocab_size", "a whole number of at least 1", size is not None)
    _check(folder, config, "weight_tying", "true or false", isinstance(config.get("weight_tying", False), bool))
    for field in ("rope_theta", "rms_norm_eps"):
        _check(folder, config, field, "a number above 0", _is_positive(config.get(field, 1)))
    if (have := _layers(folder)) and config["n_layers"] > have:
        # Before transformers lists every layer.
        raise MdmkitError(
            f"{folder}: config.json says n_layers={config['n_layers']}, and the weights have {have} layers."
        )
    return config


def _read_rope(folder: Path, config: dict[str, Any]) -> None:
    """Put what transformers 5 writes into `rope_parameters` where transformers 4 has it.

    Raises:
        MdmkitError: it scales positions, or gives another base than the top of config.json.
    """
    given = config.pop("rope_parameters", None)
    if given is None:
        return
    plain = {"rope_type": "default", "type": "default", "partial_rotary_factor": 1}
    known = isinstance(given, dict) and all(name == "rope_theta" or plain.get(name) == given[name] for name in given)
    base = given.get("rope_theta") if known else None
    top = config.get("rope_theta")
    if not known or (base is not None and top is not None and base != top):
        wanted = f"its rope_theta is {shown(top)}" if known else "LLaDA turns positions unscaled"
        raise MdmkitError(f"{folder}: config.json says rope_parameters={shown(given)}, and {wanted}.")
    if base is not None:
        config["rope_theta"] = base


def _check(folder: Path, config: dict[str, Any], field: str, wanted: str, fits: bool) -> None:
    if not fits:
        given = f"gives {shown(config[field])}" if field in config else "lacks it"
        raise MdmkitError(f"{folder}: config.json must give {field} as {wanted}, and {given}.")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _layers(folder: Path) -> int:
    """The number of layers whose weights are there; 0 if there are no readable weights."""
    found = set()
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, "pt") as weights:
                found |= {m[1] for name in weights.keys() if (m := re.search(r"\.blocks\.(\d+)\.", name))}  # noqa: SIM118
        except Exception:  # whoever loads it says what is wrong
            return 0
    return len(found)
