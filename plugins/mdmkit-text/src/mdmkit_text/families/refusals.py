"""Why no family reads a checkpoint, and what its owner can do."""

from __future__ import annotations

import difflib
from typing import Any

_WRAP = "Load it in your own code, and wrap it: mdmkit.wrap(model, tokenizer)."


def refusal(config: dict[str, Any], own: list[str]) -> str:
    """Say why a config belongs to no family; `own` are the model types of the families that have types of their own."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    accepted = (
        "Accepted are masked language models (a transformers class ...ForMaskedLM), decoders whose config.json has "
        f'"is_causal": false, and the model types {", ".join(own)}.'
    )
    model_type = config.get("model_type")
    if model_type is None:
        return f"its config.json names no model_type. {accepted}"
    if model_type not in CONFIG_MAPPING:
        remote = " Code that comes with a checkpoint (auto_map) is never run." if "auto_map" in config else ""
        return (
            f"unknown model_type {model_type!r}.{_nearest(model_type, own)} The installed transformers has no class "
            f"for it.{remote} {accepted} {_WRAP}"
        )
    if model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return (
            f"its config.json describes a causal decoder (model_type {model_type!r}), in which no position attends to "
            'later ones. If it was trained with bidirectional attention, put "is_causal": false into its config.json; '
            'if attention ends with blocks of N tokens, put "block_size": N there too, or add --model-option '
            "block_length=N. If its logits predict the next position, name the family that shifts them back: dream:, "
            f"or fast_dllm_v2: with blocks, before the reference. {accepted}"
        )
    lacks = f"model_type {model_type!r} has no masked-language-model class in the installed transformers."
    return f"{lacks} {accepted} {_WRAP}"


def _nearest(model_type: str, own: list[str]) -> str:
    """Name the nearest of the families' own types, and of transformers' types if only a letter or two differ."""
    from transformers import CONFIG_MAPPING

    near = difflib.get_close_matches(model_type, own, n=1, cutoff=0.7) or difflib.get_close_matches(
        model_type, list(CONFIG_MAPPING.keys()), n=1, cutoff=0.85
    )
    return f" Did you mean {near[0]!r}?" if near else ""
