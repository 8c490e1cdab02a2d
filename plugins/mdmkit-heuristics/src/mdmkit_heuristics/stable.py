"""KLASS: fill what is sure and no longer changes from step to step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import Actions, MdmkitError, ops
from mdmkit_heuristics.block import entered

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step

# Bytes of fp32 temporaries that one chunk of columns may take.
CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class Klass:
    """Fill every open position that is sure and stable; where there is none, the best by the plan's quota (KLASS).

    arXiv:2511.05664: a position is stable once KL(p of this step ‖ p of the step before) was below `divergence` in each
    of the last `history` steps. Keeps the logits of one step besides the current ones.

    Args:
        threshold: probability, exclusive.
        divergence: nats.
        history: steps.
    """

    threshold: float = 0.9
    divergence: float = 0.01
    history: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise MdmkitError(f"select klass: threshold={self.threshold}: it is a probability, from 0 to 1.")
        if not 0 < self.divergence < math.inf:
            raise MdmkitError(f"select klass: divergence={self.divergence}: it is in nats, above 0.")
        if self.history < 1:
            raise MdmkitError(f"select klass: history={self.history}: it must be at least 1 step.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        new = entered(step, "klass_block")
        kept, span, belief = step.memory, (step.span.start, step.span.stop), step.belief
        count = torch.zeros_like(step.tokens)
        # Another window is another block of every row.
        if kept.get("klass_span") == span:
            moved = _divergence(belief.logits, belief.stats.lse, kept["klass_logits"], kept["klass_lse"])
            count = torch.where((moved < self.divergence) & ~new[:, None], kept["klass_count"] + 1, 0)
        kept.update(klass_span=span, klass_count=count, klass_logits=belief.logits, klass_lse=belief.stats.lse)
        calm = step.open & (count >= self.history) & (step.confidence > self.threshold)
        place = calm.where(calm.any(-1, keepdim=True), ops.top(scores, step.open, step.quota))
        return Actions.single(place, step.tokens)


def _divergence(now: Tensor, lse: Tensor, before: Tensor, lse_before: Tensor) -> Tensor:
    """KL(now ‖ before) in nats, fp32 [B, W], from logits [B, W, V] and their logsumexp [B, W]."""
    rows, width, vocab = now.shape
    size = max(1, CHUNK_BYTES // (4 * rows * vocab))
    parts = []
    for start in range(0, width, size):
        columns = slice(start, start + size)
        logp = now[:, columns].to(lse.dtype) - lse[:, columns, None]
        old = before[:, columns].to(lse.dtype) - lse_before[:, columns, None]
        p = logp.exp()
        parts.append(torch.where(p > 0, p * (logp - old), 0.0).sum(-1))
    return torch.cat(parts, -1)
