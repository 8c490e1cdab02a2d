"""SDAR (arXiv:2510.06303), its mixture of experts, and TraDo: Qwen3 whose attention ends with the block."""

from __future__ import annotations

from typing import Any

from mdmkit_text.families.family import BLOCK_CACHES, Family, native_config, require_sizes, size


class SDAR(Family):
    """`Qwen3ForCausalLM` or `Qwen3MoeForCausalLM`, the weights under the same names."""

    name = "sdar"
    model_types = ("sdar", "sdar_moe")
    mask_id = 151669
    end_tokens = ("<|im_end|>",)
    caches = BLOCK_CACHES

    def block(self, config: dict[str, Any]) -> int | None:
        return size(config, "block_size") if config.get("block_size") is not None else 4

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        return {
            "use_sliding_window": (None, False),
            "rope_scaling": (None,),
            "mlp_only_layers": (None, []),
            "decoder_sparse_step": (None, 1),
        }

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import Qwen3ForCausalLM, Qwen3MoeForCausalLM

        require_sizes(config, "intermediate_size", "num_key_value_heads")
        changes: dict[str, Any] = {"is_causal": False, "use_cache": False}
        changes["head_dim"] = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        if config.get("model_type") != "sdar_moe":
            return Qwen3ForCausalLM, native_config(config, model_type="qwen3", **changes)
        for field in ("num_experts", "num_experts_per_tok", "moe_intermediate_size"):
            size(config, field)
        # If the field is absent, the default of the reference is the opposite of that of transformers.
        changes["norm_topk_prob"] = bool(config.get("norm_topk_prob"))
        return Qwen3MoeForCausalLM, native_config(config, model_type="qwen3_moe", **changes)
