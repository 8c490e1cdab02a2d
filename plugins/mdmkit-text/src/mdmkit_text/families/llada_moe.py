"""LLaDA-MoE (arXiv:2509.24389): Qwen3-MoE with other config fields, bidirectional."""

from __future__ import annotations

from typing import Any

from mdmkit_text.families.family import (
    DECODER,
    FULL_CACHES,
    SHARED,
    Family,
    bidirectional,
    flag,
    number,
    rope,
    shared_width,
    size,
    sizes,
)


class LLaDAMoE(Family):
    """`Qwen3MoeForCausalLM`, the weights under the same names."""

    name = "llada_moe"
    architectures = ("LLaDAMoEModelLM", "LLaDAMoEModel")
    model_types = ("lladamoe", "llada_moe")
    mask_id = 156895
    end_tokens = ("<|role_end|>",)
    caches = FULL_CACHES
    divisible = True
    honoured = SHARED | {
        *(*DECODER, "num_key_value_heads"),
        *("expert_intermediate_size", "num_experts", "num_experts_per_tok", "hidden_act", "rms_norm_eps"),
        "tie_word_embeddings",
    }

    @classmethod
    def claims(cls, config: dict[str, Any]) -> bool:
        # Also published with the model_type of the dense models.
        return super().claims(config) or (config.get("model_type") == "llada" and config.get("num_experts") is not None)

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        layers = config.get("moe_layer_freq")
        every_layer = [1] * len(layers) if isinstance(layers, list) else 1
        return super().covered(config) | {
            "qk_layernorm": (True,),
            "attention_bias": (None, False),
            "head_dim": (None, shared_width(config)),
            "clip_qkv": (None,),
            "moe_layer_freq": (None, every_layer),
            "moe_router_enable_expert_bias": (None, False),
            "moe_router_score_function": (None, "softmax"),
            "norm_topk_prob": (None, False),
            "partial_rotary_factor": (None, 1),
            "rope_scaling": (None,),
            "routed_scaling_factor": (None, 1),
            "router_num_group": (None,),
            "router_topk_group": (None,),
            "shared_expert_intermediate_size": (None, 0),
        }

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import Qwen3MoeForCausalLM

        native = bidirectional(
            config,
            "qwen3_moe",
            **sizes(config, *DECODER, "num_experts", "num_experts_per_tok"),
            num_key_value_heads=size(config, "num_key_value_heads", "num_attention_heads"),
            head_dim=shared_width(config),
            moe_intermediate_size=size(config, "expert_intermediate_size"),
            # The reference never normalises them, whatever its config says.
            norm_topk_prob=False,
            decoder_sparse_step=1,
            mlp_only_layers=[],
            attention_bias=False,
            hidden_act=config.get("hidden_act", "silu"),
            rms_norm_eps=number(config, "rms_norm_eps", 1e-5),
            max_position_embeddings=size(config, "max_position_embeddings", default=4096),
            tie_word_embeddings=flag(config, "tie_word_embeddings", False),
            rope_parameters=rope(config, None),
        )
        return Qwen3MoeForCausalLM, native
