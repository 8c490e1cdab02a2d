"""Qwen2 whose logits predict the position to the right: the base of Dream and Fast-dLLM v2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit_text.families.family import (
    DENSE,
    SHARED,
    Family,
    bidirectional,
    flag,
    head_dim,
    number,
    rope,
    shifted,
    size,
    sizes,
)

if TYPE_CHECKING:
    from torch import Tensor


class ShiftedQwen2(Family):
    """`Qwen2ForCausalLM`, the weights under the same names; the logits of position i predict position i + 1."""

    lead = 1
    divisible = True
    honoured = SHARED | {
        *(*DENSE, "head_dim", "hidden_act", "rms_norm_eps", "tie_word_embeddings"),
    }

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        return super().covered(config) | {"rope_scaling": (None,), "partial_rotary_factor": (None, 1)}

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import Qwen2ForCausalLM

        native = bidirectional(
            config,
            "qwen2",
            **sizes(config, *DENSE),
            head_dim=head_dim(config),
            hidden_act=config.get("hidden_act", "silu"),
            rms_norm_eps=number(config, "rms_norm_eps", 1e-6),
            max_position_embeddings=size(config, "max_position_embeddings", default=32768),
            tie_word_embeddings=flag(config, "tie_word_embeddings", False),
            rope_parameters=rope(config, 10000.0),
        )
        return Qwen2ForCausalLM, native

    def align(self, hidden: Tensor, positions: Tensor) -> Tensor:
        return shifted(hidden, positions)
