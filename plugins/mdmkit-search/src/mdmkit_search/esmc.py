"""Entropy-guided sequential Monte Carlo: particles that are resampled towards states of low entropy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from mdmkit import MdmkitError
from mdmkit_search.entropy import entropy_ahead, extend_paths, path_entropy
from mdmkit_search.least import first_least
from mdmkit_search.resampling import METHODS, resample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from mdmkit import Actions, Canvas, Look, Step, Trace

# The kept value: the steps of each row, the same for all of its particles.
AGE = "esmc.age"


@dataclass(frozen=True)
class EntropySMC:
    """Resample M particles per row every Δ steps, with weights ∝ exp(−λ · h_DE) (E-SMC, arXiv:2512.21336).

    h_DE is the mean entropy, in nats, of the positions of the block that are still open after the particle's step. All
    weights are equal again after a resampling. The answer is the particle whose path has the lowest mean h_DE. Nothing
    is resampled when a row's last tokens are written. The form of the potential, λ, Δ and the choice of the answer are
    our own, because those of the paper could not be checked.

    Args:
        particles: M.
        every: Δ, steps of the row from one resampling to the next.
        strength: λ, per nat; 0: no particle is preferred.
        resampling: `systematic` or `multinomial`.
    """

    particles: int = 8
    every: int = 4
    strength: float = 10.0
    resampling: str = "systematic"

    looks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.particles < 1:
            raise MdmkitError(f"search esmc: particles={self.particles}: at least 1.")
        if self.every < 1:
            raise MdmkitError(f"search esmc: every={self.every}: it is a number of steps, at least 1.")
        if not 0 <= self.strength < math.inf:
            raise MdmkitError(f"search esmc: strength={self.strength}: it must be 0 or more.")
        if self.resampling not in METHODS:
            raise MdmkitError(f"search esmc: resampling={self.resampling!r}: it is one of {', '.join(METHODS)}.")

    def move(
        self, step: Step, actions: Actions, values: Tensor | None, choice: Tensor, look: Look | None
    ) -> tuple[Tensor, Tensor]:
        p = self.particles
        ahead = entropy_ahead(step, actions, look).gather(1, choice[:, None])[:, 0].view(-1, p)
        left = (step.open & ~actions.take(choice)[0]).any(1).view(-1, p).any(1)  # [B]
        busy = step.active.view(-1, p).any(1, keepdim=True).expand(-1, p).flatten()
        age = step.recall(AGE) + busy
        step.keep(AGE, age)
        due = left & (age.view(-1, p)[:, 0] % self.every == 0)

        # Relative to the best particle, so that the exponentials do not all become 0.
        weights = (-self.strength * (ahead - ahead.amin(1, keepdim=True))).exp()
        own = step.canvas.seed.view(-1, p)[:, 0], age.view(-1, p)[:, 0]
        places = torch.arange(step.rows, device=choice.device).view(-1, p)
        drawn = places[:, :1] + resample(weights, self.resampling, *own)
        parents = torch.where(due[:, None], drawn, places).flatten()
        extend_paths(step, parents)
        return parents, choice[parents]

    def best(self, canvas: Canvas, trace: Trace, kept: Mapping[str, Tensor]) -> Tensor:
        paths = path_entropy(kept, len(canvas.tokens), canvas.tokens.device)
        return first_least(paths.view(-1, self.particles))
