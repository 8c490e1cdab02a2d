"""Actions: N alternatives for each row, proposed by a select."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from mdmkit.errors import MdmkitError


@dataclass(frozen=True)
class Actions:
    """N alternative actions per row. If a row compares nothing, its first live alternative is taken.

    Attributes:
        place: bool [B, N, W]; positions that the alternative fills, within `step.open`.
        tokens: int64 [B, N, W]; read only where `place` is True.
        live: bool [B, N]; False for a duplicate and for an unused place in the list of N. A row with open positions
            has at least one live alternative.
        steps: int64 [B, N]; how many steps of the plan the alternative counts as; None: one.
    """

    place: Tensor
    tokens: Tensor
    live: Tensor
    steps: Tensor | None = None

    @classmethod
    def single(cls, place: Tensor, tokens: Tensor) -> Actions:
        """Make the one action per row of a greedy step: place bool [B, W], tokens int64 [B, W]."""
        return cls(place[:, None], tokens[:, None], place.any(-1, keepdim=True))

    def take(self, choice: Tensor) -> tuple[Tensor, Tensor]:
        """Return (place bool [B, W], tokens int64 [B, W]) of the chosen alternatives, choice int64 [B]."""
        if self.place.shape[1] == 1:
            return self._only
        index = choice[:, None, None].expand(-1, 1, self.place.shape[-1])
        return self.place.gather(1, index)[:, 0], self.tokens.gather(1, index)[:, 0]

    @cached_property
    def _only(self) -> tuple[Tensor, Tensor]:
        return self.place[:, 0], self.tokens[:, 0]

    def spent(self, choice: Tensor) -> Tensor | int:
        """How many steps of the plan the chosen alternatives count as: int64 [B], or 1 for all."""
        return 1 if self.steps is None else self.steps.gather(1, choice[:, None])[:, 0]

    def without(self, gone: Tensor) -> Actions:
        """The same actions without the alternatives marked in `gone`, bool [B, N]."""
        return replace(self, live=self.live & ~gone)

    def at(self, rows: Tensor) -> Actions:
        """The actions of rows int64 [B], in this order."""
        steps = None if self.steps is None else self.steps[rows]
        return Actions(self.place[rows], self.tokens[rows], self.live[rows], steps)

    def __getattr__(self, name: str) -> Any:
        if name == "written":
            raise MdmkitError(
                "actions.written is of the first edition of mdmkit: write step.states(actions), which returns tokens "
                "and open positions of every next state, both [B, N, T]."
            )
        raise AttributeError(f"Actions has no attribute {name!r}")
