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

    def behind(self, tokens: Tensor, valid: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Put the shadows behind the row's own columns: tokens, valid and positions, all [M, L + E]."""
        return (
            torch.cat((tokens, self.tokens), 1),
            torch.cat((valid, self.live), 1),
            torch.cat((positions, self.positions), 1),
        )

    def mask(self, own: Tensor, theirs: Tensor, keys: Tensor) -> Tensor:
        """bool [M, L + E, K + E]: which columns attend to which, with the shadows behind the row's own.

        Args:
            own: bool [M, L, K]; what the row's own columns attend to.
            theirs: bool [M, E, K], or [M, 1, K] for all alike; what the columns at the shadows' positions attend to.
            keys: int64 [M, K]; positions of the K keys.
        """
        unseen = self.live.new_zeros(*own.shape[:2], self.live.shape[1])
        shadows = torch.cat((theirs & self.others(keys), self.among()), 2)
        return torch.cat((torch.cat((own, unseen), 2), shadows), 1)

    def among(self) -> Tensor:
        """bool [M, E, E]: which shadows each of them sees."""
        itself = torch.eye(self.tokens.shape[1], dtype=torch.bool, device=self.tokens.device)
        return (self.live[:, None] | itself) if self.mutual else itself.expand(len(self.tokens), -1, -1)
