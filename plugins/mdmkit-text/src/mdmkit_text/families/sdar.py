"""SDAR (arXiv:2510.06303), its mixture of experts, and TraDo: Qwen3 whose attention ends with the block."""

from __future__ import annotations

import re
from typing import Any

from mdmkit import MdmkitError
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


class SDAR(Family):
    """`Qwen3ForCausalLM` or `Qwen3MoeForCausalLM`, the weights under the same names."""

    name = "sdar"
    architectures = ("SDARForCausalLM", "SDARMoeForCausalLM")
    model_types = ("sdar", "sdar_moe")
    mask_id = 151669
    end_tokens = ("<|im_end|>",)
    caches = BLOCK_CACHES
    divisible = True
    blocks = True
    honoured = SHARED | {
        *(*DENSE, "head_dim", "hidden_act", "rms_norm_eps", "attention_bias", "tie_word_embeddings", "block_size"),
        *("num_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob"),
    }

    def block(self, config: dict[str, Any], ref: str = "") -> int | None:
        named = re.search(r"[-_]b(\d+)(?![a-z0-9])", ref.lower())
        if config.get("block_size") is None and named and int(named[1]) != 4:
            raise MdmkitError(
                f"its config.json gives no block_size, and its name says blocks of {named[1]}, not the usual 4. Say "
                f"which: --model-option block_length={named[1]}, or block_length=4."
            )
        return size(config, "block_size", default=4)

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        return super().covered(config) | {
            "rope_scaling": (None,),
            "partial_rotary_factor": (None, 1),
            "mlp_only_layers": (None, []),
            "decoder_sparse_step": (None, 1),
        }

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import Qwen3ForCausalLM, Qwen3MoeForCausalLM

        experts = config.get("model_type") == "sdar_moe" or config.get("num_experts") is not None
        changes: dict[str, Any] = {"head_dim": size(config, "head_dim", default=128)}
        if experts:
            changes = {
                "head_dim": head_dim(config),
                **sizes(config, "num_experts", "num_experts_per_tok", "moe_intermediate_size"),
                "norm_topk_prob": flag(config, "norm_topk_prob", False),
                "decoder_sparse_step": 1,
                "mlp_only_layers": [],
            }
        native = bidirectional(
            config,
            "qwen3_moe" if experts else "qwen3",
            **sizes(config, *DENSE),
            hidden_act=config.get("hidden_act", "silu"),
            rms_norm_eps=number(config, "rms_norm_eps", 1e-6),
            attention_bias=flag(config, "attention_bias", False),
            max_position_embeddings=size(config, "max_position_embeddings", default=32768),
            tie_word_embeddings=flag(config, "tie_word_embeddings", False),
            rope_parameters=rope(config, 10000.0),
            **changes,
        )
        return (Qwen3MoeForCausalLM if experts else Qwen3ForCausalLM), native
