"""Dream (arXiv:2508.15487), DiffuCoder, Dream-Coder: bidirectional Qwen2 whose logits predict the next position."""

from __future__ import annotations

from mdmkit_text.families.family import FULL_CACHES
from mdmkit_text.families.shifted import ShiftedQwen2


class Dream(ShiftedQwen2):
    """Every position attends to every other."""

    name = "dream"
    model_types = ("Dream",)
    mask_id = 151666
    end_tokens = ("<|im_end|>",)
    caches = FULL_CACHES
