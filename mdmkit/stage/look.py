"""What a lookahead sees of the proposed next states."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit.stage.belief import Belief

if TYPE_CHECKING:
    from mdmkit.stage.hidden import Hidden

# Hidden states, and the tokens that each state holds (None where the policy never asks), to a belief.
Believe = Callable[[Tensor, Tensor | None], Belief]

# Bytes of logits that one chunk of a look may hold.
LOOK_BYTES = 256 << 20


class Look:
    """What a lookahead sees of the proposed next states: reductions of their beliefs, on demand.

    A next state exists for every live alternative of a row that proposes more than one; elsewhere results mean nothing.

    Attributes:
        remaining: bool [B, N, T]; positions still masked in each next state.
        masked: bool [B, T]; positions masked in the current state.
        block: the columns of the active window.
        sequence: every column that was recomputed: the whole row without a cache. Under one, `remaining` and `masked`
            hold only what was recomputed, row by row: of the rest nothing is known.
    """

    def __init__(
        self,
        believe: Believe,
        vocab: int,
        now: Hidden,
        ahead: Hidden,
        where: Tensor,
        remaining: Tensor,
        masked: Tensor,
        block: slice,
    ):
        self._believe, self._vocab, self._now, self._ahead, self._where = believe, vocab, now, ahead, where
        self.remaining, self.masked, self.block = remaining, masked, block
        self.sequence = slice(ahead.start, ahead.start + ahead.values.shape[1])

    def __call__(
        self, reduce: Callable[[Belief], Tensor], span: slice | None = None, at: Tensor | None = None
    ) -> Tensor:
        """Reduce each next state's belief over the vocabulary, position by position.

        `reduce` maps a belief over positions, logits [..., V], to one number for each, [...]. The result is [B, N, S]
        over the columns of `span` (the active window where None). The logits exist only chunk by chunk.

        `at`, int64 [B, S], asks for these columns alone, counted from the start of `span`, the same in each of a row's
        next states: the head runs nowhere else.
        """
        rows = None if at is None else at[self._where // self.remaining.shape[1]]
        values = self._reduced(reduce, self._ahead, span, rows)
        shape = self.remaining.shape[:2]
        out = values.new_zeros(shape.numel(), *values.shape[1:])
        return out.index_copy(0, self._where, values).unflatten(0, shape)

    def now(self, reduce: Callable[[Belief], Tensor], span: slice | None = None) -> Tensor:
        """Reduce the current state's belief in the same way: [B, S]."""
        return self._reduced(reduce, self._now, span)

    def _reduced(
        self, reduce: Callable[[Belief], Tensor], hidden: Hidden, span: slice | None, at: Tensor | None = None
    ) -> Tensor:
        values, seen = hidden.at(span or self.block), hidden.seen
        if at is not None:
            values = values.gather(1, at[..., None].expand(-1, -1, values.shape[-1]))
        size = max(1, LOOK_BYTES // (4 * self._vocab))
        # [positions, 1, D]: heads that want a sequence get sequences of one.
        parts = values.flatten(0, 1)[:, None].split(size)
        states = torch.arange(len(values), device=values.device).repeat_interleave(values.shape[1]).split(size)
        chunks = [
            reduce(self._believe(part, None if seen is None else seen[state][:, None]))[:, 0]
            for part, state in zip(parts, states, strict=True)
        ]
        out = chunks[0] if len(chunks) == 1 else torch.cat(chunks)
        return out.unflatten(0, values.shape[:2])
