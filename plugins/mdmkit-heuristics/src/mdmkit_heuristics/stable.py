"""KLASS: fill positions that are confident and no longer change from step to step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import Actions, MdmkitError, ops
from mdmkit_heuristics.ranking import check_frontier

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step

# Bytes of temporary fp32 tensors that one chunk of columns may use.
CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class Klass:
    """Fill every open position that is confident and stable; if there is none, the best by quota (KLASS).

    arXiv:2511.05664: a position is stable once KL(p of this step ‖ p of the step before) was below `divergence` in each
    of the last `history` steps. The logits of the step before are kept.

    Args:
        threshold: probability, exclusive.
        divergence: nats.
        history: steps.
        frontier: w, if only the w leftmost open positions may be filled; null: all.
    """

    threshold: float = 0.9
    divergence: float = 0.01
    history: int = 2
    frontier: int | None = None

    def __post_init__(self) -> None:
        check_frontier("klass", self.frontier)
        if not 0 <= self.threshold <= 1:
            raise MdmkitError(f"select klass: threshold={self.threshold}: it is a probability, from 0 to 1.")
        if not 0 < self.divergence < math.inf:
            raise MdmkitError(f"select klass: divergence={self.divergence}: it is in nats, above 0.")
        if self.history < 1:
            raise MdmkitError(f"select klass: history={self.history}: it must be at least 1 step.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        count = self._stable(step)
        eligible = step.leftmost(self.frontier)
        calm = eligible & (count >= self.history) & (step.confidence > self.threshold)
        place = calm.where(calm.any(-1, keepdim=True), ops.top(scores, eligible, step.quota))
        return Actions.single(place, step.tokens)

    def _stable(self, step: Step) -> Tensor:
        """For how many steps each position has been stable, int64 [B, W]; keeps this step's belief for the next."""
        logits, lse = step.belief.logits, step.belief.stats.lse
        # −1: there is no step before.
        before = step.recall("klass.count", like="window", fill=-1, until="block")
        old = step.recall(
            "klass.logits", like="window", fill=0.0, shape=logits.shape[-1:], until="block", dtype=logits.dtype
        )
        old_lse = step.recall("klass.lse", like="window", fill=0.0, until="block", dtype=lse.dtype)
        calm = (before >= 0) & (_divergence(logits, lse, old, old_lse) < self.divergence)
        count = torch.where(calm, before + 1, 0)
        step.keep("klass.count", count.masked_fill(~step.member, -1))
        step.keep("klass.logits", logits)
        step.keep("klass.lse", lse)
        return count


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
