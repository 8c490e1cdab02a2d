"""Qwen2 whose logits predict the position to the right: the base of Dream and Fast-dLLM v2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit_text.families.family import Family, native_config, require_sizes, shifted

if TYPE_CHECKING:
    from torch import Tensor


class ShiftedQwen2(Family):
    """`Qwen2ForCausalLM`, the weights under the same names; the logits of position i predict position i + 1."""

    lead = 1

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        return {"use_sliding_window": (None, False), "rope_scaling": (None,)}

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import Qwen2ForCausalLM

        require_sizes(config, "intermediate_size", "num_key_value_heads")
        return Qwen2ForCausalLM, native_config(config, model_type="qwen2", is_causal=False, use_cache=False)

    def align(self, hidden: Tensor, positions: Tensor) -> Tensor:
        return shifted(hidden, positions)
