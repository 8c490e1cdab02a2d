"""Mean-field decoding: positions with similar distributions keep one another from being filled in the same step."""

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


@dataclass(frozen=True)
class MeanField:
    """Fill every open position with q at or above the threshold; if there is none, the one with the largest q.

    arXiv:2606.15805. c = ln p(token) − ln p(best other token). D = 1 − JSD / ln 2 says how similar the distributions of
    two open positions are, from 0 to 1, and is divided by the largest D of the row. At first q = σ(c); then `rounds`
    times q ← σ(c − Σ D q), with the sum over the other positions. Neither the scores nor the plan's steps are read.

    Every two positions are compared over the whole vocabulary, so set plan.block. The pairs are compared in parts, so
    that the memory needed is that of the probabilities and of one part.

    Args:
        threshold: of q, from 0 to 1.
        rounds: how often q is computed anew; 0: q = σ(c).
        frontier: w, if only the w leftmost open positions may be filled and are compared; null: all.
    """

    threshold: float = 0.9
    rounds: int = 2
    frontier: int | None = None

    def __post_init__(self) -> None:
        check_frontier("mean_field", self.frontier)
        if not 0 <= self.threshold <= 1:
            raise MdmkitError(f"select mean_field: threshold={self.threshold}: q is from 0 to 1.")
        if self.rounds < 0:
            raise MdmkitError(f"select mean_field: rounds={self.rounds}: it is a number of rounds, from 0 up.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        eligible = step.leftmost(self.frontier)
        lead = _lead(step).masked_fill(~eligible, -torch.inf)  # so that q = 0
        field = lead
        if self.rounds:
            similar = _similarity(step, eligible)
            for _ in range(self.rounds):
                field = lead - (similar @ field.sigmoid()[..., None])[..., 0]
        # Ranked before the sigmoid, which rounds many positions to the same q.
        best = ops.top(field, eligible, step.quota.clamp_max(1))
        return Actions.single(best | (eligible & (field.sigmoid() >= self.threshold)), step.tokens)


def _lead(step: Step) -> Tensor:
    """How much more probable the token is than the best other one, [B, W], as the logarithm of the ratio."""
    first, second = step.belief.top2.unbind(-1)
    other = torch.where(step.tokens == step.belief.argmax, second, first)
    return step.confidence.log() - other.log()


def _similarity(step: Step, eligible: Tensor) -> Tensor:
    """D of every two eligible positions, [B, W, W], divided by the row's largest; 0 for other pairs."""
    stats, width = step.belief.stats, step.width
    p = (step.belief.logits.to(stats.lse.dtype) - stats.lse[..., None]).exp()
    entropy = stats.entropy
    pairs = torch.triu_indices(width, width, 1, device=p.device)
    most_bytes = ops.CPU_CHUNK_BYTES if p.device.type == "cpu" else ops.CHUNK_BYTES
    size = max(2, most_bytes // (4 * p.shape[0] * p.shape[2]))
    parts = []
    for i, j in zip(*(index.split(size) for index in pairs), strict=True):
        middle = (p[:, i] + p[:, j]) / 2
        divergence = -torch.xlogy(middle, middle).sum(-1) - (entropy[:, i] + entropy[:, j]) / 2
        parts.append((1 - divergence / math.log(2)).clamp(0, 1))
    similar = p.new_zeros(p.shape[0], width, width)
    if parts:  # there are two positions
        similar[:, pairs[0], pairs[1]] = torch.cat(parts, 1)
    both = eligible[:, :, None] & eligible[:, None, :]
    similar = torch.where(both, similar + similar.transpose(1, 2), 0)
    most = similar.amax((1, 2), keepdim=True)
    return similar / torch.where(most > 0, most, 1)
