"""Split fused queries, keys and values while transformers loads a checkpoint, shard by shard."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Glm4MoeConfig
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.core_model_loading import ConversionOps, WeightConverter


class FusedGlm4MoeConfig(Glm4MoeConfig):
    """GLM-4-MoE with its own model type, by which transformers finds the conversion of the weights."""

    model_type = "mdmkit_fused_glm4_moe"


class SplitHeads(ConversionOps):
    """Cut a weight [(H + 2·K)·D, hidden] into the H query heads, the K key heads and the K value heads of width D."""

    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, Any]:
        (found,) = input_dict.values()
        fused = found[0] if isinstance(found, list) else found
        config = kwargs["config"]
        rows = [n * config.head_dim for n in (config.num_attention_heads, *[config.num_key_value_heads] * 2)]
        return dict(zip(target_patterns, (part.contiguous() for part in torch.split(fused, rows)), strict=True))


def fused_config(config: Glm4MoeConfig) -> FusedGlm4MoeConfig:
    """The same configuration, for a checkpoint whose layers hold `self_attn.query_key_value`."""
    split = WeightConverter(
        source_patterns="self_attn.query_key_value.weight",
        target_patterns=[f"self_attn.{name}_proj.weight" for name in "qkv"],
        operations=[SplitHeads()],
    )
    experts = get_checkpoint_conversion_mapping("glm4_moe") or []
    register_checkpoint_conversion_mapping(FusedGlm4MoeConfig.model_type, [*experts, split], overwrite=True)
    return FusedGlm4MoeConfig.from_dict(config.to_dict() | {"model_type": FusedGlm4MoeConfig.model_type})
