"""Decoders trained without the causal mask: Llama, Qwen2, Qwen3, ... with `"is_causal": false` in config.json."""

from __future__ import annotations

from typing import Any

from mdmkit_text.families.family import FULL_CACHES, Family, native_config, size


class BidirectionalDecoder(Family):
    """Any class that transformers maps to `AutoModelForCausalLM`, without its causal mask.

    Attention is full, or by blocks if config.json holds `block_size` (models of block diffusion, arXiv:2503.09573).
    """

    name = "decoder"
    caches = FULL_CACHES
    blocks = True

    @classmethod
    def claims(cls, config: dict[str, Any]) -> bool:
        return config.get("is_causal") is False and cls.forced(config)

    @classmethod
    def forced(cls, config: dict[str, Any]) -> bool:
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

        return config.get("model_type") in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    def block(self, config: dict[str, Any], ref: str = "") -> int | None:
        return None if config.get("block_size") is None else size(config, "block_size")

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

        native = native_config(config, is_causal=False)
        native.use_cache = False
        return MODEL_FOR_CAUSAL_LM_MAPPING[type(native)], native
