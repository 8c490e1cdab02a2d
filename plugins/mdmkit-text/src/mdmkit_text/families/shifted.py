"""Qwen2 whose logits predict the position to the right: the base of Dream and Fast-dLLM v2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit_text.families.family import SHARED, Family, bidirectional, flag, head_dim, number, rope, shifted, size

if TYPE_CHECKING:
    from torch import Tensor


class ShiftedQwen2(Family):
    """`Qwen2ForCausalLM`, the weights under the same names; the logits of position i predict position i + 1."""

    lead = 1
    honoured = SHARED | {
        *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"),
        *("num_key_value_heads", "hidden_act", "rms_norm_eps", "tie_word_embeddings"),
    }

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        layers = config.get("layer_types")
        return {
            "use_sliding_window": (None, False),
            "rope_scaling": (None,),
            "partial_rotary_factor": (None, 1),
            "layer_types": (None, ["full_attention"] * len(layers) if isinstance(layers, list) else None),
        }

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import Qwen2ForCausalLM

        native = bidirectional(
            config,
            "qwen2",
            vocab_size=size(config, "vocab_size"),
            hidden_size=size(config, "hidden_size"),
            intermediate_size=size(config, "intermediate_size"),
            num_hidden_layers=size(config, "num_hidden_layers"),
            num_attention_heads=size(config, "num_attention_heads"),
            num_key_value_heads=size(config, "num_key_value_heads"),
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
