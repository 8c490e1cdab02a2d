"""LESS: fill positions whose token and whose most probable tokens stay the same from step to step."""

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
class Less:
    """Fill every open position that is confident, persistent and stable; if there is none, the best by quota (LESS).

    arXiv:2606.16908, as in its code for LLaDA. A position is persistent if its most probable token is that of each of
    the `history` steps before. It is stable if its distribution differs from that of the step before by at most
    `divergence`: the Jensen-Shannon divergence of two distributions of which only the `top_k` most probable tokens are
    told apart. What is remembered is as large as these tokens.

    Args:
        threshold: probability of the token that would be written.
        divergence: nats, from 0 to ln 2.
        history: steps.
        top_k: tokens.
        frontier: w, if only the w leftmost open positions may be filled; null: all.
    """

    threshold: float = 0.75
    divergence: float = 0.04
    history: int = 2
    top_k: int = 8
    frontier: int | None = None

    def __post_init__(self) -> None:
        check_frontier("less", self.frontier)
        if not 0 <= self.threshold <= 1:
            raise MdmkitError(f"select less: threshold={self.threshold}: it is a probability, from 0 to 1.")
        if not 0 <= self.divergence < math.inf:
            raise MdmkitError(f"select less: divergence={self.divergence}: it is in nats, from 0 up.")
        if self.history < 1:
            raise MdmkitError(f"select less: history={self.history}: it must be at least 1 step.")
        if self.top_k < 1:
            raise MdmkitError(f"select less: top_k={self.top_k}: it must be at least 1 token.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        eligible = step.leftmost(self.frontier)
        # Both are computed at every open position, since each keeps what the next step reads.
        calm = self._persistent(step) & self._stable(step)
        sure = eligible & calm & (step.confidence >= self.threshold)
        place = sure.where(sure.any(-1, keepdim=True), ops.top(scores, eligible, step.quota))
        return Actions.single(place, step.tokens)

    def _persistent(self, step: Step) -> Tensor:
        """bool [B, W]: the most probable token is that of the `history` steps before."""
        now = step.belief.argmax[..., None]
        # −1: no step before, or the position was not open in it.
        before = step.recall("less.argmax", like="window", fill=-1, shape=(self.history,), until="block")
        step.keep("less.argmax", torch.cat((before[..., 1:], now), -1).masked_fill(~step.open[..., None], -1))
        return (before == now).all(-1)

    def _stable(self, step: Step) -> Tensor:
        """bool [B, W]: the distribution is nearly that of the step before."""
        logits, lse = step.belief.logits, step.belief.stats.lse[..., None]
        best = logits.topk(min(self.top_k, logits.shape[-1]), dim=-1)
        ids, p = best.indices, (best.values.to(lse.dtype) - lse).exp()
        size = ids.shape[-1:]
        old = step.recall("less.ids", like="window", fill=-1, shape=size, until="block")
        q = step.recall("less.p", like="window", fill=0.0, shape=size, until="block", dtype=p.dtype)
        step.keep("less.ids", ids.masked_fill(~step.open[..., None], -1))
        step.keep("less.p", p)
        return _divergence(ids, p, old, q) <= self.divergence


def _divergence(ids: Tensor, p: Tensor, old: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence in nats, [B, W], of two distributions that are known at K tokens each.

    ids int64 [B, W, K] have probabilities p, and `old` q. All other tokens of a distribution count as one.
    """
    same = (ids[..., :, None] == old[..., None, :]).to(p.dtype)
    q_there, p_there = (same * q[..., None, :]).sum(-1), (same * p[..., :, None]).sum(-2)
    p_rest, q_rest = ((1 - x.sum(-1, keepdim=True)).clamp_min(0) for x in (p, q))
    first = _to_middle(p, q_there) + _to_middle(p_rest, q_rest)
    second = _to_middle(q, p_there) + _to_middle(q_rest, p_rest)
    return (first + second) / 2


def _to_middle(p: Tensor, q: Tensor) -> Tensor:
    """Σ p ln(p / m) with m = (p + q) / 2; a term with p = 0 is 0."""
    return (torch.xlogy(p, p) - torch.xlogy(p, (p + q) / 2)).sum(-1)
