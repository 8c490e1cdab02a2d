"""Dream (arXiv:2508.15487), DiffuCoder, Dream-Coder: bidirectional Qwen2 whose logits predict the next position."""

from __future__ import annotations

from typing import Any

from mdmkit_text.families.family import FULL_CACHES, shared_width
from mdmkit_text.families.shifted import ShiftedQwen2


class Dream(ShiftedQwen2):
    """Every position attends to every other."""

    name = "dream"
    architectures = ("DreamModel",)
    model_types = ("Dream",)
    mask_id = 151666
    end_tokens = ("<|im_end|>",)
    caches = FULL_CACHES

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        return super().covered(config) | {
            "head_dim": (None, shared_width(config)),
        }
