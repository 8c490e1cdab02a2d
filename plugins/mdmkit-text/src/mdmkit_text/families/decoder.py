"""Decoders trained without the causal mask: Llama, Qwen2, Qwen3, ... with `"is_causal": false` in config.json."""

from __future__ import annotations

from typing import Any

from mdmkit_text.families.family import FULL_CACHES, Family, native_config


class BidirectionalDecoder(Family):
    """Any class that transformers maps to `AutoModelForCausalLM`; its attention mask then becomes bidirectional."""

    name = "decoder"
    caches = FULL_CACHES

    @classmethod
    def claims(cls, config: dict[str, Any]) -> bool:
        return cls.forced(config) and config.get("is_causal") is False

    @classmethod
    def forced(cls, config: dict[str, Any]) -> bool:
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

        return config.get("model_type") in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

        native = native_config(config, is_causal=False)
        native.use_cache = False
        return MODEL_FOR_CAUSAL_LM_MAPPING[type(native)], native
