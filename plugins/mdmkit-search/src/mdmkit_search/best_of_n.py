"""Best of N: independent trajectories; the least uncertain one is the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import MdmkitError
from mdmkit_search.entropy import extend_paths, path_entropy
from mdmkit_search.least import first_least

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from mdmkit import Actions, Canvas, Look, Step, Trace

MEASURES = ("uncertainty", "entropy")


@dataclass(frozen=True)
class BestOfN:
    """Decode N trajectories of each row and keep the least uncertain one.

    | by | the answer has the lowest |
    |---|---|
    | `uncertainty` | cumulative uncertainty H̃ = Σ_t Σ_{ℓ filled at t} H_ℓ(z_t), nats (arXiv:2602.18176) |
    | `entropy` | H_DE, the mean over its states of the mean entropy of their open positions: E-BoN (arXiv:2512.21336) |

    Trajectories differ in what is drawn: tokens at `draw.temperature`, and positions if the select draws them. Of equal
    trajectories the first is the answer.

    Args:
        particles: N.
        by: see above.
    """

    particles: int = 8
    by: str = "uncertainty"

    def __post_init__(self) -> None:
        if self.particles < 1:
            raise MdmkitError(f"search best_of_n: particles={self.particles}: at least 1 trajectory.")
        if self.by not in MEASURES:
            raise MdmkitError(f"search best_of_n: by={self.by!r}: it is one of {', '.join(MEASURES)}.")

    def move(
        self, step: Step, actions: Actions, values: Tensor | None, choice: Tensor, look: Look | None
    ) -> tuple[Tensor, Tensor]:
        stay = torch.arange(step.rows, device=choice.device)
        if self.by == "entropy":
            extend_paths(step, stay)
        return stay, choice

    def best(self, canvas: Canvas, trace: Trace, kept: Mapping[str, Tensor]) -> Tensor:
        each = trace.uncertainty
        if self.by == "entropy":
            each = path_entropy(kept, len(each), each.device)
        return first_least(each.view(-1, self.particles))
