"""Logits to which a constraint adds one number for each class of tokens, made only if a part reads them all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mdmkit import ops

# Bytes of logits that are taken at a time on a CPU, so that they stay in its caches.
CPU_BYTES = 8 << 20


@dataclass(frozen=True, eq=False)
class Shifted:
    """Logits [..., V] plus the value of each token's class. A large vocabulary has few classes under most rules, so
    the sum need not be written down to know its statistics.

    A constraint's `shape` may return it in place of logits. A token that the model or the user forbids stays forbidden.

    Attributes:
        logits: [..., V]; those that `shape` got.
        class_of: int64 [V]; the class of each token, below C.
        values: [..., C]; what is added to the logits of the class's tokens; −inf forbids them.
        known: the statistics of the sum, if the constraint has them; None: they are computed.
    """

    logits: Tensor
    class_of: Tensor
    values: Tensor
    known: ops.Stats | None = None

    @property
    def shape(self) -> torch.Size:
        """[..., V]."""
        return self.logits.shape

    @cached_property
    def made(self) -> Tensor:
        """[..., V]: the sum. To make it takes a pass over the vocabulary, and as much memory as the logits."""
        out = torch.empty_like(self.logits, memory_format=torch.contiguous_format)
        for into, logits, values in zip(*map(self._chunks, (out, self.logits, self.values)), strict=True):
            self._make(logits, values, into)
        return out

    @cached_property
    def stats(self) -> ops.Stats:
        """Statistics of the sum, [...]."""
        if self.known is not None:
            return self.known
        if "made" in vars(self):
            return ops.stats(self.made)
        chunks = self._chunks(self.logits)
        pairs = zip(chunks, self._chunks(self.values), strict=True)
        buffer = torch.empty_like(chunks[0])  # the first chunk is the largest
        first, *more = [ops.stats(self._make(logits, values, buffer[: len(logits)])) for logits, values in pairs]
        return first.each(lambda *parts: torch.cat(parts).view(self.shape[:-1]), *more)

    def at(self, slot: Tensor, tokens: Tensor) -> Tensor:
        """Entries of the sum: of positions int64 [...], counted as one row, those of some tokens, int64 [...]."""
        own = self.values.flatten(0, -2)[slot, self.class_of[tokens]].to(self.logits.dtype)
        return own.add_(self.logits.flatten(0, -2)[slot, tokens])

    def __getitem__(self, index: Any) -> Shifted:
        """The same at some of the positions, by an index into the leading dimensions; None adds one."""
        known = None if self.known is None else self.known.each(lambda x: x[index])
        return Shifted(self.logits[index], self.class_of, self.values[index], known)

    def unflatten(self, dim: int, sizes: torch.Size) -> Shifted:
        known = None if self.known is None else self.known.each(lambda x: x.unflatten(dim, sizes))
        return Shifted(self.logits.unflatten(dim, sizes), self.class_of, self.values.unflatten(dim, sizes), known)

    def anew(self) -> Shifted:
        """The same before anything was made of it."""
        return Shifted(self.logits, self.class_of, self.values, self.known)

    def _chunks(self, x: Tensor) -> tuple[Tensor, ...]:
        """The positions of x [..., n], counted as one row, some at a time."""
        flat = x.flatten(0, -2)
        return flat.tensor_split(ops.chunks_of(self.logits, len(flat), CPU_BYTES))

    def _make(self, logits: Tensor, values: Tensor, out: Tensor) -> Tensor:
        """Write the sum at some positions into `out` [n, V]."""
        return torch.index_select(values.to(logits.dtype), 1, self.class_of, out=out).add_(logits)
