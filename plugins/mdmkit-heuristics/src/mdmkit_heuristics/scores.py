"""Scores: how much to fill each open position now. Each returns float [B, W], higher = sooner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


@dataclass(frozen=True)
class Confidence:
    """Probability of the token that would be written (MaskGIT, arXiv:2202.04200; LLaDA, arXiv:2502.09992)."""

    def __call__(self, step: Step) -> Tensor:
        return step.confidence


@dataclass(frozen=True)
class Entropy:
    """Negative Shannon entropy of the position, in nats (Dream's `entropy`, arXiv:2508.15487)."""

    def __call__(self, step: Step) -> Tensor:
        return -step.belief.entropy


@dataclass(frozen=True)
class Margin:
    """Probability of the best token minus that of the second (Kim et al., arXiv:2502.06768)."""

    def __call__(self, step: Step) -> Tensor:
        top2 = step.belief.top2
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
