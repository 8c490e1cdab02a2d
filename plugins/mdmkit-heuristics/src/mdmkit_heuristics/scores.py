"""Scores: how early to fill each open position. Each returns float [B, W], higher = sooner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import MdmkitError, ops

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


@dataclass(frozen=True)
class Confidence:
    """Probability of the token that would be written (MaskGIT, arXiv:2202.04200; LLaDA, arXiv:2502.09992).

    Args:
        top_k: renormalise over the k most probable tokens; null: over all. Dream's decoder uses 50, the default of
            transformers' generation settings.
    """

    top_k: int | None = None

    def __post_init__(self) -> None:
        _check("confidence", self.top_k)

    def __call__(self, step: Step) -> Tensor:
        if self.top_k is None:
            return step.confidence
        best = _best(step, self.top_k)
        logit = step.belief.logits.gather(-1, step.tokens[..., None])[..., 0].to(best.dtype)
        return (logit - best.logsumexp(-1)).exp()


@dataclass(frozen=True)
class Entropy:
    """Negative Shannon entropy of the position, in nats (Dream's `entropy`, arXiv:2508.15487).

    Args:
        top_k: as in `confidence`.
    """

    top_k: int | None = None

    def __post_init__(self) -> None:
        _check("entropy", self.top_k)

    def __call__(self, step: Step) -> Tensor:
        return -(step.belief.entropy if self.top_k is None else ops.stats(_best(step, self.top_k)).entropy)


@dataclass(frozen=True)
class Margin:
    """Probability of the best token minus that of the second (Kim et al., arXiv:2502.06768).

    Args:
        top_k: as in `confidence`.
    """

    top_k: int | None = None

    def __post_init__(self) -> None:
        _check("margin", self.top_k)

    def __call__(self, step: Step) -> Tensor:
        top2 = step.belief.top2 if self.top_k is None else _best(step, self.top_k).softmax(-1)
        return top2[..., 0] - top2[..., 1]


@dataclass(frozen=True)
class Random:
    """A uniform number in (0, 1): the order of ancestral sampling."""

    def __call__(self, step: Step) -> Tensor:
        return step.noise("random_score", 1)[:, 0]


@dataclass(frozen=True)
class LeftToRight:
    """Minus the position in the row: autoregressive order."""

    def __call__(self, step: Step) -> Tensor:
        return -step.position.float()


def _check(name: str, top_k: int | None) -> None:
    if top_k is not None and top_k < 2:
        raise MdmkitError(f"score {name}: top_k={top_k}: it must be at least 2, or null for all tokens.")


def _best(step: Step, k: int) -> Tensor:
    """The k largest logits of each position, fp32 or float64 [B, W, k], best first."""
    logits = step.belief.logits
    best = logits.topk(min(k, logits.shape[-1]), dim=-1).values
    return best if best.dtype == torch.float64 else best.float()
