"""What a select proposes: N alternative actions for each row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mdmkit.canvas.canvas import Canvas


@dataclass(frozen=True)
class Actions:
    """N alternative actions per row; alternative 0 is the one taken where nothing is compared.

    Attributes:
        place: bool [B, N, W]; positions that the alternative fills, within `step.open`.
        tokens: int64 [B, N, W]; read where `place`.
        live: bool [B, N]; False for a duplicate or an unused slot. Where a row has open positions, one at least is.
    """

    place: Tensor
    tokens: Tensor
    live: Tensor

    @classmethod
    def single(cls, place: Tensor, tokens: Tensor) -> Actions:
        """The one action per row of a greedy step: place bool [B, W], tokens int64 [B, W]."""
        return cls(place[:, None], tokens[:, None], place.any(-1, keepdim=True))

    def take(self, choice: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen alternative's (place bool [B, W], tokens int64 [B, W]) for choice int64 [B]."""
        index = choice[:, None, None].expand(-1, 1, self.place.shape[-1])
        return self.place.gather(1, index)[:, 0], self.tokens.gather(1, index)[:, 0]

    def at(self, rows: Tensor) -> Actions:
        """The actions of other rows, int64 [B], in their order."""
        return Actions(self.place[rows], self.tokens[rows], self.live[rows])

    def written(self, canvas: Canvas, span: slice) -> Tensor:
        """Every alternative's next state, int64 [B, N, T]: the canvas with the action's tokens in place."""
        tokens = canvas.tokens[:, None].expand(-1, self.place.shape[1], -1)
        middle = torch.where(self.place, self.tokens, tokens[..., span])
        return torch.cat((tokens[..., : span.start], middle, tokens[..., span.stop :]), -1)
