"""The model side: what a backbone must offer, and the one place where forwards are run and counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.belief import Belief
from mdmkit.cache import Cache
from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from mdmkit.canvas import Canvas, Prompt
    from mdmkit.plan import Plan
    from mdmkit.step import Draw

# Tokens (rows times columns) that one forward may hold; larger batches of states are split.
FORWARD_TOKENS = 1 << 16
# Bytes of logits that one chunk of a look may hold.
LOOK_BYTES = 256 << 20


class Backbone(ABC):
    """A model that says, for every position of a partly masked sequence, which tokens fit.

    Attributes:
        mask_id: the id of the mask.
        vocab: V, the number of logits.
        forbidden: ids that may never be chosen (padding, specials, rows the model never uses); the mask id always is.
        attention: `"full"`, or `"block"` for block-causal models.
        caches: names of the caches it supports.
        length: masks appended to a prompt that holds none, where neither prompt nor plan says; None: no default.
        samples: prompts to show the model with.
        weights: number of parameters, 0 where unknown.
        device: where it computes.
    """

    mask_id: int
    vocab: int
    forbidden: Sequence[int] = ()
    attention: str = "full"
    caches: frozenset[str] = frozenset({"none"})
    length: int | None = None
    samples: Sequence[str] = ()
    weights: int = 0
    device: torch.device = torch.device("cpu")

    @classmethod
    def accepts(cls, ref: str) -> bool:
        """Say, without loading, whether a reference names one of this backbone's models."""
        return False

    @classmethod
    @abstractmethod
    def load(cls, ref: str, *, device: str, dtype: str, **options: Any) -> Backbone:
        """Load a model: a directory, a hub id, or a name of the backbone's own; dtype may be `"auto"`."""

    @abstractmethod
    def encode(self, prompts: Sequence[Prompt], plan: Plan) -> tuple[Canvas, Any]:
        """Turn prompts into a canvas (see `mdmkit.canvas.lay_out`) and whatever `forward` needs beside it, or None."""

    @abstractmethod
    def forward(
        self, tokens: Tensor, valid: Tensor, conditioning: Any, *, positions: Tensor, cache: Any = None
    ) -> Tensor:
        """Compute hidden states [M, L, D] of M rows: tokens and positions int64 [M, L], valid bool.

        `valid` is [M, T], the whole row; L < T only where `cache` stands for the other columns.
        `conditioning` is `encode`'s, already reduced to these M rows by `select`. Padding may not influence a row.
        """

    @abstractmethod
    def project(self, hidden: Tensor) -> Tensor:
        """The head: hidden [..., D] to logits [..., V], aligned with positions: `forward` undoes a model's shift."""

    @abstractmethod
    def decode(self, canvas: Canvas) -> list[Any]:
        """Turn filled rows into what the user sees: the generated text, or for an infill the whole filled text."""

    def select(self, conditioning: Any, rows: Tensor) -> Any:
        """Reduce `conditioning` to the given canvas rows, int64 [M]."""
        return conditioning

    def render(self, token: int) -> str:
        """Show one token to a person, in the live view and in traces."""
        return str(token)


@dataclass
class Hidden:
    """Hidden states [M, L, D] of M next states, and the canvas column at which they start."""

    values: Tensor
    start: int

    def at(self, span: slice) -> Tensor:
        return self.values[:, span.start - self.start : span.stop - self.start]


class Runner:
    """Runs a backbone for one decode: every forward and every projection of a decode goes through here.

    The logit policy (forbidden ids, suppressed ids, penalties) is applied on projection, so base and lookahead logits
    get it alike. `rows` [B] and `calls` are the NFE counters.
    """

    def __init__(self, backbone: Backbone, canvas: Canvas, conditioning: Any, draws: Draw, cache: Cache):
        self.backbone, self.conditioning, self.cache = backbone, conditioning, cache
        self.valid, self.positions = canvas.valid, canvas.positions
        self.rows = torch.zeros(len(canvas.tokens), dtype=torch.long, device=canvas.tokens.device)
        self.calls = 0
        penalty = draws.penalty or {}
        for key, ids in (("suppress", draws.suppress), ("penalty", penalty)):
            if strange := [i for i in ids if not 0 <= i < backbone.vocab]:
                raise MdmkitError(
                    f"draw.{key} names token id {strange[0]}, and the model's ids go from 0 to {backbone.vocab - 1}."
                )
        never = sorted({canvas.mask_id, *backbone.forbidden, *draws.suppress})
        if len(never) == backbone.vocab:
            raise MdmkitError("draw.suppress leaves no token that could be chosen. Take some ids off it.")
        bias = torch.zeros(backbone.vocab, device=canvas.tokens.device)
        for token, amount in penalty.items():
            bias[token] -= amount
        bias[never] = -torch.inf
        self.bias = bias

    def forward(self, tokens: Tensor, rows: Tensor) -> Hidden:
        """Run states int64 [M, T] that belong to canvas rows int64 [M]; each counts as one row-forward."""
        columns = self.cache.columns(tokens.shape[1])
        size = max(1, FORWARD_TOKENS // max(1, columns.stop - columns.start))
        parts = []
        for chunk, index in zip(tokens.split(size), rows.split(size), strict=True):
            parts.append(
                self.backbone.forward(
                    chunk[:, columns],
                    self.valid[index],
                    self.backbone.select(self.conditioning, index),
                    positions=self.positions[index][:, columns],
                    cache=self.cache.view(index),
                )
            )
            self.calls += 1
        self.rows.index_add_(0, rows, torch.ones_like(rows))
        return Hidden(parts[0] if len(parts) == 1 else torch.cat(parts), columns.start)

    def belief(self, hidden: Tensor) -> Belief:
        """Project hidden [..., D] and apply the logit policy."""
        logits = self.backbone.project(hidden)
        return Belief(logits + self.bias.to(logits.dtype))


class Look:
    """What a lookahead sees of the proposed next states: reductions of their beliefs, on demand.

    A next state exists for every live alternative of a row that proposes more than one; elsewhere results mean nothing.

    Attributes:
        remaining: bool [B, N, T]; positions still masked in each next state.
        masked: bool [B, T]; positions masked in the current state.
        block: the columns of the active window.
        sequence: every column that was recomputed: the whole row without a cache.
    """

    def __init__(
        self, runner: Runner, now: Hidden, ahead: Hidden, where: Tensor, remaining: Tensor, masked: Tensor, block: slice
    ):
        self._runner, self._now, self._ahead, self._where = runner, now, ahead, where
        self.remaining, self.masked, self.block = remaining, masked, block
        self.sequence = slice(ahead.start, ahead.start + ahead.values.shape[1])

    def __call__(self, reduce: Callable[[Belief], Tensor], span: slice | None = None) -> Tensor:
        """Reduce each next state's belief over the vocabulary, position by position.

        `reduce` maps a belief over positions, logits [..., V], to one number for each, [...]. The result is [B, N, S]
        over the columns of `span` (the active window where None). The logits exist only chunk by chunk.
        """
        values = self._reduced(reduce, self._ahead.at(span or self.block))
        rows, alternatives = self.remaining.shape[:2]
        out = values.new_zeros(rows * alternatives, *values.shape[1:])
        return out.index_copy(0, self._where, values).unflatten(0, (rows, alternatives))

    def now(self, reduce: Callable[[Belief], Tensor], span: slice | None = None) -> Tensor:
        """Reduce the current state's belief in the same way: [B, S]."""
        return self._reduced(reduce, self._now.at(span or self.block))

    def _reduced(self, reduce: Callable[[Belief], Tensor], hidden: Tensor) -> Tensor:
        size = max(1, LOOK_BYTES // (4 * self._runner.backbone.vocab))
        # [positions, 1, D]: heads that want a sequence get sequences of one.
        parts = hidden.flatten(0, 1)[:, None].split(size)
        values = torch.cat([reduce(self._runner.belief(part))[:, 0] for part in parts])
        return values.unflatten(0, hidden.shape[:2])


def require_cache(backbone: Backbone, name: str) -> None:
    if name not in backbone.caches:
        raise MdmkitError(
            f"cache={name}, but backbone {type(backbone).__name__!r} offers: {', '.join(sorted(backbone.caches))}."
        )
