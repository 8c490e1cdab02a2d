"""What stages see and say: the Step they read, the Actions they propose."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mdmkit import noise, ops
from mdmkit.belief import Belief
from mdmkit.canvas import Canvas
from mdmkit.errors import MdmkitError
from mdmkit.plan import Plan


@dataclass(frozen=True)
class Draw:
    """How tokens are drawn from the belief.

    Args:
        temperature: 0 takes the most probable token.
        temperature_end: where the temperature ends that begins at `temperature` and goes on in proportion to the share
            of the row's masks that are filled (as DiffusionGemma's from 0.8 to 0.4, and Halton-MaskGIT's,
            arXiv:2503.17076, by steps there); null keeps it constant.
        top_p: keep the smallest set of tokens with this probability mass; null keeps all.
        top_k: keep this many tokens; null keeps all.
        suppress: token ids that are never chosen.
        penalty: token id -> amount taken off its logit, in base and lookahead logits alike.
        end_penalty: the same amount for every end and padding token of the model, which pretraining made too likely
            (arXiv:2602.18176 takes 4).
        repetition_penalty: logits of tokens that the row holds already are divided by it where positive and multiplied
            where negative (arXiv:1909.05858); 1 is off.
    """

    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    suppress: tuple[int, ...] = ()
    penalty: dict[int, float] | None = None
    end_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature_end: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise MdmkitError(f"draw.temperature={self.temperature}: it must be a number from 0 up; 0 is greedy.")
        if self.temperature_end is not None and not 0 <= self.temperature_end < math.inf:
            raise MdmkitError(
                f"draw.temperature_end={self.temperature_end}: a number from 0 up, or null for a temperature that "
                "stays as it is."
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise MdmkitError(f"draw.top_p={self.top_p}: it must be above 0 and at most 1, or null.")
        if self.top_k is not None and self.top_k < 1:
            raise MdmkitError(f"draw.top_k={self.top_k}: it must be at least 1, or null.")
        if not all(math.isfinite(amount) for amount in (self.penalty or {}).values()):
            raise MdmkitError(
                f"draw.penalty={self.penalty}: every amount must be finite; draw.suppress forbids a token."
            )
        if not math.isfinite(self.end_penalty):
            raise MdmkitError(f"draw.end_penalty={self.end_penalty}: it must be a finite number; 0 is off.")
        if not 0 < self.repetition_penalty < math.inf:
            raise MdmkitError(
                f"draw.repetition_penalty={self.repetition_penalty}: it must be a number above 0; 1 is off."
            )

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is taken from beginning to end."""
        return self.temperature == 0 and not self.temperature_end


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: how far the logits move from what the model says without the prompt (arXiv:2207.12598).

    Args:
        scale: logits become u + scale · (c − u), with c the ordinary ones and u those with every given token masked.
            1 is off; any other scale runs both, two row-forwards per state. A reference's `cfg_scale` s is scale s + 1.
        ramp: begin at 1 and grow in proportion to the share of the row that a state has filled; `scale` is where that
            ends (as in Halton-MaskGIT's code, arXiv:2503.17076, by steps there).
    """

    scale: float = 1.0
    ramp: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise MdmkitError(f"guidance.scale={self.scale}: it must be a finite number; 1 is off.")


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
