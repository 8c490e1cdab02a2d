"""Shadow columns: masks that a forward holds beside the row's own columns, to ask what the model would say there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# What a part may read, and whether the shadow columns of one row see one another.
SHADOWS = {"shadow": False, "shadow_block": True}


@dataclass(frozen=True)
class Shadow:
    """E extra columns of each of M rows, behind the L that a forward computes anyway (WINO, arXiv:2507.18578).

    A shadow column stands at the position of one of the row's own columns and holds the mask. It attends to what that
    column attends to, and to itself, but not to that column. No column of the row attends to a shadow. So the row's
    own hidden states stay as they are, and at an open place a shadow that sees no other says what the place itself
    says. At a filled place it says what would be filled in if the place were open.

    Attributes:
        tokens: int64 [M, E]; the mask.
        positions: int64 [M, E].
        live: bool [M, E]; a shadow that is not live only fills the batch up.
        mutual: whether the shadows of a row see one another.
    """

    tokens: Tensor
    positions: Tensor
    live: Tensor
    mutual: bool

    def others(self, keys: Tensor) -> Tensor:
        """bool [M, E, K]: whether each of K columns, int64 positions [M, K], is another one than the shadow's own."""
        return keys[:, None] != self.positions[:, :, None]

    def among(self) -> Tensor:
        """bool [M, E, E]: which shadows each of them sees."""
        itself = torch.eye(self.tokens.shape[1], dtype=torch.bool, device=self.tokens.device)
        return (self.live[:, None] | itself) if self.mutual else itself.expand(len(self.tokens), -1, -1)
