"""The logits of a look, until the next belief: its hidden states are among those that the look has projected."""

from __future__ import annotations

import torch
from torch import Tensor


class Recent:
    """Hidden states [n, D] that were projected a moment ago, and their logits [n, V].

    On a CPU only: elsewhere to find a hidden state would mean to wait for the device, and a head is fast.
    """

    def __init__(self) -> None:
        self._hidden: Tensor | None = None
        self._logits: Tensor | None = None

    def keep(self, hidden: Tensor, logits: Tensor) -> None:
        if hidden.device.type == "cpu":
            self._hidden, self._logits = hidden, logits

    def take(self, hidden: Tensor) -> tuple[Tensor, Tensor] | None:
        """Find the logits of hidden states [m, D], and forget all that was kept.

        Returns:
            int64 [m'], those that were found, and their logits, [m', V], a copy; None if none was found.
        """
        known, logits = self._hidden, self._logits
        self._hidden = self._logits = None
        if known is None or logits is None or known.shape[1] != hidden.shape[1] or known.dtype != hidden.dtype:
            return None
        same = _marks(hidden)[:, None] == _marks(known)
        found = same.any(1).nonzero()[:, 0]
        source = same.long().argmax(1)[found]
        if not len(found) or not torch.equal(known[source], hidden[found]):
            return None
        return found, logits[source]


def _marks(hidden: Tensor) -> Tensor:
    """A number for each row of [n, D]: equal for equal rows, and hardly ever for others. A few columns decide it."""
    bits = hidden[:, :32].contiguous().view(torch.int16)
    return (bits * torch.arange(1, bits.shape[1] + 1)).sum(1)
