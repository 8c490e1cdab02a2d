"""The config.json of a checkpoint in LLaDA's format: the fields that the trunk reads, and those that it must refuse."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from safetensors import safe_open

from mdmkit import MdmkitError, shown
from mdmkit_image.layout import read_config
from mdmkit_image.rope import read_rope

_OFF = (None, False)
# Fields that change what is computed, and the values that the trunk computes. None: the field is absent or null, and
# LLaDA's own class then computes the same. It takes other kinds of layers if one of the first four is absent.
COVERED: dict[str, tuple[Any, ...]] = {
    "block_type": ("llama",),
    "layer_norm_type": ("rms",),
    "activation_type": ("silu",),
    "rope": (True,),
    "include_bias": _OFF,
    "include_qkv_bias": _OFF,
    "bias_for_layer_norm": _OFF,
    "attention_layer_norm": _OFF,
    "input_emb_norm": _OFF,
    "scale_logits": _OFF,
    "layer_norm_with_affine": (None, True),
    "block_group_size": (None, 1),
    "alibi": _OFF,
    "use_sliding_window": _OFF,
    "clip_qkv": (None,),
    "partial_rotary_factor": (None, 1),
    # Attention by blocks, a token that makes a row longer, and weights in another form.
    "block_size": (None,),
    "bd_size": (None,),
    "block_length": (None,),
    "expand_token_id": (None,),
    "quantization_config": (None, {}),
    "quantization": (None, {}),
}
SIZES = ("d_model", "n_layers", "n_heads")
# Sizes that may be absent, because they follow from others, or have a default.
DERIVED = ("embedding_size", "vocab_size", "mlp_hidden_size", "mlp_ratio", "n_kv_heads", "max_sequence_length")


def read_trunk_config(folder: Path) -> dict[str, Any]:
    """Read and check config.json.

    Raises:
        MdmkitError: it is no JSON object, lacks a field, or has a value that the trunk does not compute; or it asks for
            more layers than the weights have.
    """
    config = read_rope(folder, read_config(folder / "config.json"))
    for field in SIZES:
        _check(folder, config, field, "a whole number of at least 1", _is_size(config.get(field)))
    for field in DERIVED:
        if config.get(field) is not None:
            _check(folder, config, field, "a whole number of at least 1, or null", _is_size(config[field]))
    heads = config["n_heads"]
    _check(folder, config, "n_heads", f"a divisor of d_model {config['d_model']}", config["d_model"] % heads == 0)
    _check_covered(folder, config)
    mask, tokens = config.get("mask_token_id"), config.get("vocab_size")
    rows = config.get("embedding_size") or tokens
    is_id = _is_size(mask) or (mask == 0 and not isinstance(mask, bool))
    _check(folder, config, "mask_token_id", "a token id, or null", mask is None or is_id)
    _check(folder, config, "vocab_size", "a whole number of at least 1", rows is not None)
    _check(folder, config, "vocab_size", f"at most {rows}, its embedding_size", tokens is None or tokens <= rows)
    _check(folder, config, "weight_tying", "true or false", isinstance(config.get("weight_tying", True), bool))
    for field in ("rope_theta", "rms_norm_eps"):
        _check(folder, config, field, "a number above 0", _is_positive(config.get(field, 1)))
    if (have := _layers(folder)) and config["n_layers"] > have:
        # Before transformers lists every layer.
        raise MdmkitError(
            f"{folder}: config.json says n_layers={config['n_layers']}, and the weights have {have} layers."
        )
    return config


def key_heads(config: dict[str, Any]) -> int:
    """The number of key-value heads of a checked config."""
    if config.get("n_kv_heads") is not None:
        return int(config["n_kv_heads"])
    return 1 if config.get("multi_query_attention") else int(config["n_heads"])


def _check_covered(folder: Path, config: dict[str, Any]) -> None:
    layers, one_key = config.get("layer_types"), config.get("multi_query_attention")
    more = {"layer_types": (None, ["full_attention"] * len(layers)) if isinstance(layers, list) else (None,)}
    if config.get("use_sliding_window") is not False:  # windows of this size, and nothing switches them off
        more["sliding_window"] = (None,)
    faults = [
        f"{f'says {field}={shown(config[field])}' if field in config else f'lacks {field}'}, and LLaDA "
        f"{'must not have it' if values == (None,) else f'has {values[-1]!r}'}"
        for field, values in (COVERED | more).items()
        if config.get(field) not in values
    ]
    if faults:
        raise MdmkitError(
            f"{folder}: config.json {'; it '.join(faults)}. Correct config.json if the model was trained as LLaDA is; "
            "otherwise its images would be wrong, so it cannot be loaded."
        )
    _check(folder, config, "multi_query_attention", "true, false or null", one_key in (None, False, True))
    if one_key is not None:
        heads = 1 if one_key else config["n_heads"]
        wanted = f"{heads}, because multi_query_attention is {str(bool(one_key)).lower()}"
        _check(folder, config, "n_kv_heads", wanted, config.get("n_kv_heads") in (None, heads))


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
