"""Fast-dLLM v2 (arXiv:2509.26328): Qwen2 whose attention ends with the block, with logits one position to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit_text.families.family import BLOCK_CACHES, Family, native_config, require_sizes, shifted, size

if TYPE_CHECKING:
    from torch import Tensor


class FastDLLMv2(Family):
    """`Qwen2ForCausalLM`, the weights under the same names.

    The first position of a block reads the state behind the last of the block before, which is what the reference
    calls the next token of a finished block. Its sub-blocks of 8 are `plan.block=8`.
    """

    name = "fast_dllm_v2"
    model_types = ("Fast_dLLM_Qwen",)
    mask_id = 151665
    end_tokens = ("<|im_end|>",)
    caches = BLOCK_CACHES
    lead = 1

    def block(self, config: dict[str, Any]) -> int | None:
        return size(config, "bd_size") if config.get("bd_size") is not None else 32

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        return {"use_sliding_window": (None, False), "rope_scaling": (None,)}

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import Qwen2ForCausalLM

        require_sizes(config, "intermediate_size", "num_key_value_heads")
        return Qwen2ForCausalLM, native_config(config, model_type="qwen2", is_causal=False, use_cache=False)

    def align(self, hidden: Tensor, positions: Tensor) -> Tensor:
        return shifted(hidden, positions)
