"""What is read of a belief in a look: how certain the model is of each position, [B, N, W]; higher is surer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Belief


def confidence(belief: Belief) -> Tensor:
    return belief.confidence


def certainty(belief: Belief) -> Tensor:
    return -belief.entropy


def margin(belief: Belief) -> Tensor:
    return belief.top2[..., 0] - belief.top2[..., 1]


# By the names of the scores that rank positions so.
MEASURES = {"confidence": confidence, "entropy": certainty, "margin": margin}
