"""The canvas: what is being filled in, one row per prompt, padded on the left."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Canvas:
    """B rows of T tokens, and which of them are to be filled.

    Attributes:
        tokens: int64 [B, T].
        editable: bool [B, T]; False for the prompt, padding and given context.
        valid: bool [B, T]; False for padding, which nothing attends to.
        seed: int64 [B]; each row's random stream travels with the row.
        infill: bool [B]; whether the row's prompt held the masks itself.
        mask_id: the token id that stands for "still open".
        grid: (height, width) where the sequence is a flattened image.
        block: length of the model's attention blocks, counted from each row's first token; None: attention is full.
        surplus: bool [B, T]; masks that only complete a model's block: they are filled, and shown to nobody.
    """

    tokens: Tensor
    editable: Tensor
    valid: Tensor
    seed: Tensor
    infill: Tensor
    mask_id: int
    grid: tuple[int, int] | None = None
    block: int | None = None
    surplus: Tensor | None = None

    @property
    def masked(self) -> Tensor:
        """bool [B, T]: still open. `editable` decides, so a mask id kept in a prompt is never touched."""
        return (self.tokens == self.mask_id) & self.editable

    @property
    def positions(self) -> Tensor:
        """int64 [B, T]: each token's place in its own row, whatever the padding; 0 on padding."""
        return (self.valid.long().cumsum(1) - 1).clamp_min(0)

    @property
    def shown(self) -> Tensor:
        """bool [B, T]: what a person asked to see: the generated tokens, or for an infill the whole row."""
        shown = torch.where(self.infill[:, None], self.valid, self.editable)
        return shown if self.surplus is None else shown & ~self.surplus

    def with_tokens(self, tokens: Tensor) -> Canvas:
        return replace(self, tokens=tokens)

    def to(self, device: torch.device | str) -> Canvas:
        moved = {name: getattr(self, name).to(device) for name in ("tokens", "editable", "valid", "seed", "infill")}
        surplus = None if self.surplus is None else self.surplus.to(device)
        return replace(self, **moved, surplus=surplus)
