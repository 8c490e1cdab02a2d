"""What stages see and say: the Step they read, the Actions they propose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from mdmkit import noise, ops
from mdmkit.canvas.canvas import Canvas
from mdmkit.settings.draw import Draw
from mdmkit.settings.plan import Plan
from mdmkit.stage.belief import Belief


@dataclass(frozen=True)
class Step:
    """The one read-only argument of every stage: B rows, a window of W columns of T.

    Attributes:
        canvas: the rows as they are.
        span: the window's columns, `slice(lo, hi)`.
        belief: the model's belief over the window, leading shape [B, W].
        open: bool [B, W]; masked positions of the row's active block, the only ones that may be filled.
        member: bool [B, W]; the columns of the row's active block, the only ones that a commit may change.
        quota: int64 [B]; tokens the plan wants filled now (0 for a row with nothing open).
        active: bool [B]; the rows that take this step: those with something open, and those whose full block a commit
            that `lingers` may still change.
        tick: int64 [B]; steps the row has taken so far.
        memory: a dict that lives as long as the decode; stages keep their state here, never on themselves.
    """

    canvas: Canvas
    span: slice
    belief: Belief
    open: Tensor
    member: Tensor
    quota: Tensor
    active: Tensor
    tick: Tensor
    plan: Plan
    draws: Draw
    memory: dict[str, Any]

    @property
    def rows(self) -> int:
        return self.open.shape[0]

    @property
    def width(self) -> int:
        return self.open.shape[1]

    @cached_property
    def position(self) -> Tensor:
        """int64 [B, W]: each window column's place in its own row."""
        return self.canvas.positions[:, self.span]

    @cached_property
    def tokens(self) -> Tensor:
        """int64 [B, W]: the token each position would get: the best one, or one drawn at the temperature."""
        return self.draw(1)[:, 0]

    @cached_property
    def confidence(self) -> Tensor:
        """fp32 [B, W]: the un-tempered probability of `tokens`."""
        if self.draws.greedy:
            return self.belief.confidence
        return self.belief.logp_of(self.tokens[..., None])[..., 0].exp()

    @cached_property
    def temperature(self) -> float | Tensor:
        """At which tokens are drawn now: one number, or where it changes as rows fill up, float64 [B]."""
        start, end = self.draws.temperature, self.draws.temperature_end
        if end is None:
            return start
        own = self.canvas.editable
        filled = (own & ~self.canvas.masked).sum(1).double() / own.sum(1).clamp_min(1)
        return start + (end - start) * filled

    def draw(self, n: int, stream: str = "tokens") -> Tensor:
        """Draw n tokens for every window position, int64 [B, n, W]; n copies of the argmax at temperature 0."""
        if self.draws.greedy:
            return self.belief.argmax[:, None].expand(-1, n, -1)
        d = self.draws
        return ops.sample(self.belief.logits, self.noise(stream, n), self.temperature, d.top_p, d.top_k)

    def at(self, rows: Tensor) -> Step:
        """The step of other rows, int64 [B], in their order; random streams stay with the places."""
        own = {name: getattr(self, name)[rows] for name in ("open", "member", "quota", "active", "tick")}
        belief = Belief(self.belief.logits[rows])
        return replace(self, canvas=self.canvas.with_tokens(self.canvas.tokens[rows]), belief=belief, **own)

    def noise(self, stream: str, n: int) -> Tensor:
        """Draw uniforms in (0, 1), float64 [B, n, W]: n for every window position, of this row, tick and stream."""
        return noise.uniform(self.canvas.seed, self.tick, stream, n, self.position)
