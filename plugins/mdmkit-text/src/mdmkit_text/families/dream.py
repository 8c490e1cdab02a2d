"""Dream (arXiv:2508.15487), DiffuCoder and Dream-Coder: Qwen2, bidirectional, with logits one position to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mdmkit_text.families.family import Family, native_config, require_sizes

if TYPE_CHECKING:
    from torch import Tensor


class Dream(Family):
    """`Qwen2ForCausalLM`; what it says after reading position i is about position i + 1."""

    name = "dream"
    model_types = ("Dream",)
    mask_id = 151666
    end_tokens = ("<|im_end|>",)

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        return {"use_sliding_window": (None, False), "rope_scaling": (None,)}

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import Qwen2ForCausalLM

        require_sizes(config, "intermediate_size", "num_key_value_heads")
        return Qwen2ForCausalLM, native_config(config, model_type="qwen2", is_causal=False, use_cache=False)

    def align(self, hidden: Tensor, positions: Tensor) -> Tensor:
        # As the reference has it, position 0 has no left neighbour and keeps its own state. Behind left padding the
        # column to the left is no neighbour either. A slice of a row would need the state before it as well.
        return torch.where((positions == 0)[..., None], hidden, hidden.roll(1, 1))
