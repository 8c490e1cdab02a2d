"""Equal alternatives count once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def distinct(place: Tensor, tokens: Tensor) -> Tensor:
    """Mark the first of each set of equal alternatives: place bool, tokens int64, both [B, N, W] -> bool [B, N]."""
    written = torch.where(place, tokens, -1)
    same = (written[:, :, None] == written[:, None]).all(-1)
    earlier = torch.ones(same.shape[1:], dtype=torch.bool, device=same.device).tril(-1)
    return ~(same & earlier).any(-1)
