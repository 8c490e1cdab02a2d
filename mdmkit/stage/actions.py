"""What a select proposes: N alternative actions for each row."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Actions:
    """N alternative actions per row; alternative 0 is the one taken where nothing is compared.

    Attributes:
        place: bool [B, N, W]; positions that the alternative fills, within `step.open`.
        tokens: int64 [B, N, W]; read where `place`.
        live: bool [B, N]; False for a duplicate or an unused slot. Where a row has open positions, one at least is.
        steps: int64 [B, N]; steps of the plan that the alternative stands for; None: one each.
    """

    place: Tensor
    tokens: Tensor
    live: Tensor
    steps: Tensor | None = None

    @classmethod
    def single(cls, place: Tensor, tokens: Tensor) -> Actions:
        """The one action per row of a greedy step: place bool [B, W], tokens int64 [B, W]."""
        return cls(place[:, None], tokens[:, None], place.any(-1, keepdim=True))

    def take(self, choice: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen alternative's (place bool [B, W], tokens int64 [B, W]) for choice int64 [B]."""
        if self.place.shape[1] == 1:
            return self.place[:, 0], self.tokens[:, 0]
        index = choice[:, None, None].expand(-1, 1, self.place.shape[-1])
        return self.place.gather(1, index)[:, 0], self.tokens.gather(1, index)[:, 0]

    def spent(self, choice: Tensor) -> Tensor | int:
        """Steps of the plan that the chosen alternatives stand for, int64 [B], or 1."""
        return 1 if self.steps is None else self.steps.gather(1, choice[:, None])[:, 0]

    def without(self, gone: Tensor) -> Actions:
        """The same actions with alternatives bool [B, N] taken out."""
        return replace(self, live=self.live & ~gone)

    def at(self, rows: Tensor) -> Actions:
        """The actions of other rows, int64 [B], in their order."""
        steps = None if self.steps is None else self.steps[rows]
        return Actions(self.place[rows], self.tokens[rows], self.live[rows], steps)
