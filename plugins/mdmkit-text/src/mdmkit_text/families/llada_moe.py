"""LLaDA-MoE (arXiv:2509.24389): Qwen3-MoE with other config fields, bidirectional."""

from __future__ import annotations

from typing import Any

from mdmkit_text.families.family import FULL_CACHES, Family, native_config, require_sizes, size


class LLaDAMoE(Family):
    """`Qwen3MoeForCausalLM`, the weights under the same names."""

    name = "llada_moe"
    model_types = ("lladamoe", "llada_moe")
    mask_id = 156895
    end_tokens = ("<|role_end|>",)
    caches = FULL_CACHES

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        layers = config.get("moe_layer_freq")
        every_layer = [1] * len(layers) if isinstance(layers, list) else 1
        return {
            "qk_layernorm": (True,),
            "attention_bias": (None, False),
            "clip_qkv": (None,),
            "moe_layer_freq": (None, every_layer),
            "moe_router_enable_expert_bias": (None, False),
            "moe_router_score_function": (None, "softmax"),
            "partial_rotary_factor": (None, 1),
            "rope_scaling": (None,),
            "routed_scaling_factor": (None, 1),
            "router_num_group": (None,),
            "router_topk_group": (None,),
            "shared_expert_intermediate_size": (None, 0),
        }

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import Qwen3MoeForCausalLM

        require_sizes(config, "num_key_value_heads")
        native = native_config(
            config,
            model_type="qwen3_moe",
            head_dim=config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
            moe_intermediate_size=size(config, "expert_intermediate_size"),
            num_experts=size(config, "num_experts"),
            num_experts_per_tok=size(config, "num_experts_per_tok"),
            norm_topk_prob=bool(config.get("norm_topk_prob")),
            decoder_sparse_step=1,
            mlp_only_layers=[],
            is_causal=False,
            use_cache=False,
        )
        return Qwen3MoeForCausalLM, native
