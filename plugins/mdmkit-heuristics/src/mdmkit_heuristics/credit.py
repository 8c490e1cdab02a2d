"""Credit decoding: predictions of earlier steps count too."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from mdmkit import Actions, Belief, MdmkitError, ops
from mdmkit_heuristics.ranking import check_frontier

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


@dataclass(frozen=True)
class Credit:
    """Probability of the token that would be written, with credit from earlier steps (CreditDecoding).

    arXiv:2510.06133, as in dInfer (arXiv:2510.08666): every token of every position has a credit E. Each step
    E ← decay · E, and the best token of each open position gains p^power; the logits become
    logits + weight · ln(1 + E). E is kept; it is as large as the logits.

    Args:
        weight: α.
        power: γ.
        decay: β.
    """

    weight: float = 0.7
    power: float = 0.2
    decay: float = 0.8

    def __post_init__(self) -> None:
        _check("score", self.weight, self.power, self.decay)

    def __call__(self, step: Step) -> Tensor:
        fused = _fused("score", step, self.weight, self.power, self.decay)
        logit = fused.gather(-1, step.tokens[..., None])[..., 0]
        return (logit - fused.logsumexp(-1)).exp()


@dataclass(frozen=True)
class CreditThreshold:
    """Fill every open position whose token has at least this probability after credit, always the most probable.

    CreditDecoding, arXiv:2510.06133. The tokens are those of the logits with credit, as in the score `credit`. Neither
    the scores nor the plan's steps are read.

    Args:
        threshold: probability.
        weight: α.
        power: γ.
        decay: β.
        frontier: w, if only the w leftmost open positions may be filled; null: all.
    """

    threshold: float = 0.9
    weight: float = 0.7
    power: float = 0.2
    decay: float = 0.8
    frontier: int | None = None

    def __post_init__(self) -> None:
        check_frontier("credit", self.frontier)
        if not 0 <= self.threshold <= 1:
            raise MdmkitError(f"select credit: threshold={self.threshold}: it is a probability, from 0 to 1.")
        _check("select", self.weight, self.power, self.decay)

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        belief = Belief(_fused("select", step, self.weight, self.power, self.decay))
        tokens = replace(step, belief=belief).tokens
        sure = belief.probability(tokens)
        eligible = step.leftmost(self.frontier)
        best = ops.top(sure, eligible, step.quota.clamp_max(1))
        return Actions.single(best | (eligible & (sure >= self.threshold)), tokens)


def _check(kind: str, weight: float, power: float, decay: float) -> None:
    for name, value, most in (("weight", weight, math.inf), ("power", power, math.inf), ("decay", decay, 1.0)):
        if not 0 <= value <= most or value == math.inf:
            end = "to 1" if name == "decay" else "up"
            raise MdmkitError(f"{kind} credit: {name}={value}: it must be a number from 0 {end}.")


def _fused(kind: str, step: Step, weight: float, power: float, decay: float) -> Tensor:
    """The logits with credit, [B, W, V]; updates the credit."""
    name, vocab = f"{kind} credit", step.belief.logits.shape[-1]
    gain = torch.where(step.open, step.belief.confidence.pow(power), 0.0)
    before = step.recall(name, like="window", fill=0.0, shape=(vocab,), until="block", dtype=gain.dtype)
    credit = (before * decay).scatter_add(-1, step.belief.argmax[..., None], gain[..., None])
    step.keep(name, credit)
    return step.belief.logits.to(gain.dtype) + weight * credit.log1p()
