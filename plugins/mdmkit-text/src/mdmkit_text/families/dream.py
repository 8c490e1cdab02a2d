"""Dream (arXiv:2508.15487), DiffuCoder and Dream-Coder: Qwen2, bidirectional, with logits one position to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit_text.families.family import FULL_CACHES, Family, native_config, require_sizes, shifted

if TYPE_CHECKING:
    from torch import Tensor


class Dream(Family):
    """`Qwen2ForCausalLM`; what it says after reading position i is about position i + 1."""

    name = "dream"
    model_types = ("Dream",)
    mask_id = 151666
    end_tokens = ("<|im_end|>",)
    caches = FULL_CACHES
    lead = 1

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        return {"use_sliding_window": (None, False), "rope_scaling": (None,)}

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import Qwen2ForCausalLM

        require_sizes(config, "intermediate_size", "num_key_value_heads")
        return Qwen2ForCausalLM, native_config(config, model_type="qwen2", is_causal=False, use_cache=False)

    def align(self, hidden: Tensor, positions: Tensor) -> Tensor:
        return shifted(hidden, positions)
