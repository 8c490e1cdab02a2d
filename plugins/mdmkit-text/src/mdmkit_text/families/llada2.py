"""LLaDA2.0 and 2.1 (arXiv:2512.15745): GLM-4-MoE with other names, whose attention ends with the block."""

from __future__ import annotations

from typing import Any, ClassVar

from mdmkit_text.families.family import BLOCK_CACHES, Family, native_config, require_sizes, size

_OFF = (None, False)


class LLaDA2(Family):
    """`Glm4MoeForCausalLM`; queries, keys and values are one tensor in the checkpoint."""

    name = "llada2"
    model_types = ("llada2_moe", "llada21_moe")
    mask_id = 156895
    end_tokens = ("<|role_end|>",)
    caches = BLOCK_CACHES
    key_mapping: ClassVar[dict[str, str] | None] = {
        r"^model\.word_embeddings\.": "model.embed_tokens.",
        r"\.attention\.query_layernorm\.": ".self_attn.q_norm.",
        r"\.attention\.key_layernorm\.": ".self_attn.k_norm.",
        r"\.attention\.dense\.": ".self_attn.o_proj.",
        r"\.attention\.query_key_value\.": ".self_attn.query_key_value.",
        r"\.mlp\.gate\.expert_bias$": ".mlp.gate.e_score_correction_bias",
    }

    def block(self, config: dict[str, Any]) -> int | None:
        return size(config, "block_size") if config.get("block_size") is not None else 32

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        return {
            "use_qk_norm": (True,),
            "use_bias": _OFF,
            "use_qkv_bias": _OFF,
            "norm_head": _OFF,
            "score_function": ("sigmoid",),
            "moe_router_enable_expert_bias": (True,),
            "norm_topk_prob": (None, True),
            "rope_scaling": (None,),
            "use_sliding_window": _OFF,
            "moe_shared_expert_intermediate_size": (None, config.get("moe_intermediate_size")),
            "num_nextn_predict_layers": (None, 0),
        }

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import Glm4MoeForCausalLM

        from mdmkit_text.families.fused import fused_config

        require_sizes(config, "intermediate_size", "num_key_value_heads", "moe_intermediate_size")
        counts = ("num_shared_experts", "num_experts_per_tok", "n_group", "topk_group")
        shared, per_token, groups, top_groups = (size(config, name) for name in counts)
        native = native_config(
            {key: value for key, value in config.items() if key not in ("rope_theta", "partial_rotary_factor")},
            model_type="glm4_moe",
            head_dim=config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
            n_routed_experts=size(config, "num_experts"),
            n_shared_experts=shared,
            num_experts_per_tok=per_token,
            n_group=groups,
            topk_group=top_groups,
            norm_topk_prob=True,
            use_qk_norm=True,
            attention_bias=False,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": config.get("rope_theta", 10000.0),
                "partial_rotary_factor": config.get("partial_rotary_factor", 1.0),
            },
            is_causal=False,
            use_cache=False,
        )
        return Glm4MoeForCausalLM, fused_config(native)
