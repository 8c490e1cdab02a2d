"""LLaDA2.0 and 2.1 (arXiv:2512.15745): GLM-4-MoE with other names, whose attention ends with the block."""

from __future__ import annotations

from typing import Any, ClassVar

from mdmkit_text.families.family import (
    BLOCK_CACHES,
    DENSE,
    SHARED,
    Family,
    bidirectional,
    flag,
    head_dim,
    number,
    rope,
    size,
    sizes,
)

_OFF = (None, False)
_EDITS = "inserts and deletes tokens while it decodes, as LLaDA2.2 does"


class LLaDA2(Family):
    """`Glm4MoeForCausalLM`; queries, keys and values are one tensor in the checkpoint."""

    name = "llada2"
    architectures = ("LLaDA2MoeModelLM", "LLaDA21MoeModelLM")
    model_types = ("llada2_moe", "llada21_moe")
    control_tokens: ClassVar[dict[str, str]] = Family.control_tokens | {"<|delete|>": _EDITS, "<|split|>": _EDITS}
    mask_id = 156895
    end_tokens = ("<|role_end|>",)
    caches = BLOCK_CACHES
    divisible = True
    # Queries, keys and values are cut apart after a rank has taken its share, so each process holds all of them.
    undivided = ("self_attn",)
    blocks = True
    honoured = SHARED | {
        *(*DENSE, "head_dim", "moe_intermediate_size", "num_experts", "num_shared_experts", "num_experts_per_tok"),
        *("n_group", "topk_group", "first_k_dense_replace", "routed_scaling_factor", "partial_rotary_factor"),
        *("hidden_act", "rms_norm_eps", "tie_word_embeddings", "block_size"),
    }
    key_mapping: ClassVar[dict[str, str] | None] = {
        r"^model\.word_embeddings\.": "model.embed_tokens.",
        r"\.attention\.query_layernorm\.": ".self_attn.q_norm.",
        r"\.attention\.key_layernorm\.": ".self_attn.k_norm.",
        r"\.attention\.dense\.": ".self_attn.o_proj.",
        r"\.attention\.query_key_value\.": ".self_attn.query_key_value.",
        r"\.mlp\.gate\.expert_bias$": ".mlp.gate.e_score_correction_bias",
    }

    def block(self, config: dict[str, Any], ref: str = "") -> int | None:
        return size(config, "block_size", default=32)

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        width = config.get("head_dim")
        turned = int(width * config.get("partial_rotary_factor", 0.5)) if isinstance(width, int) else None
        return super().covered(config) | {
            "use_qk_norm": (None, True),
            "use_bias": _OFF,
            "use_qkv_bias": _OFF,
            "norm_head": _OFF,
            "norm_softmax": _OFF,
            "use_rmsnorm": (None, True),
            "using_split_qkv_in_self_attention": _OFF,
            "score_function": (None, "sigmoid"),
            "moe_router_enable_expert_bias": (None, True),
            "norm_topk_prob": (None, True),
            "rope_scaling": (None,),
            "rotary_dim": (None, turned),
            "moe_shared_expert_intermediate_size": (None, config.get("moe_intermediate_size")),
            "num_nextn_predict_layers": (None, 0),
        }

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import Glm4MoeForCausalLM

        from mdmkit_text.families.fused import fused_config

        per_token = size(config, "num_experts_per_tok", default=2)
        native = bidirectional(
            config,
            "glm4_moe",
            **sizes(config, *DENSE),
            head_dim=head_dim(config),
            moe_intermediate_size=size(config, "moe_intermediate_size"),
            n_routed_experts=size(config, "num_experts"),
            n_shared_experts=size(config, "num_shared_experts"),
            num_experts_per_tok=per_token,
            n_group=size(config, "n_group", default=8),
            topk_group=size(config, "topk_group", default=4),
            first_k_dense_replace=config.get("first_k_dense_replace", 0),
            routed_scaling_factor=number(config, "routed_scaling_factor", 2.5),
            # The reference normalises the weights of a token's experts only if there are several.
            norm_topk_prob=per_token > 1,
            use_qk_norm=True,
            attention_bias=False,
            hidden_act=config.get("hidden_act", "silu"),
            rms_norm_eps=number(config, "rms_norm_eps", 1e-5),
            max_position_embeddings=size(config, "max_position_embeddings", default=16384),
            tie_word_embeddings=flag(config, "tie_word_embeddings", False),
            rope_parameters=rope(config, 10000.0, partial_rotary_factor=number(config, "partial_rotary_factor", 0.5)),
        )
        return Glm4MoeForCausalLM, fused_config(native)
