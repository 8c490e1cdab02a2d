"""Fast-dLLM v2 (arXiv:2509.26328): Qwen2 with attention by blocks, whose logits predict the next position."""

from __future__ import annotations

from typing import Any

from mdmkit_text.families.family import BLOCK_CACHES, size
from mdmkit_text.families.shifted import ShiftedQwen2


class FastDLLMv2(ShiftedQwen2):
    """The first position of a block reads the state of the last position of the block before.

    The reference calls this the next token of a finished block. Its sub-blocks of 8 are `plan.block=8`.
    """

    name = "fast_dllm_v2"
    architectures = ("Fast_dLLM_QwenForCausalLM",)
    model_types = ("Fast_dLLM_Qwen",)
    mask_id = 151665
    end_tokens = ("<|im_end|>",)
    caches = BLOCK_CACHES
    blocks = True
    honoured = ShiftedQwen2.honoured | {"bd_size"}

    def block(self, config: dict[str, Any], ref: str = "") -> int | None:
        return size(config, "bd_size", default=32)
