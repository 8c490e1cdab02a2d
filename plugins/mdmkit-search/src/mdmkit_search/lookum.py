"""LookUM: paths drawn from a pool of certain positions; one is then drawn by the certainty of its next state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import Actions, MdmkitError, noise, ops
from mdmkit_search.distinct import distinct
from mdmkit_search.entropy import mean_over
from mdmkit_search.measures import MEASURES

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Look, Scope, Step

# Every pair of a row's paths is compared to merge equal ones.
MOST = 1024
REWARDS, SCOPES = ("entropy", "confidence"), ("sequence", "block")


@dataclass(frozen=True)
class Paths:
    """Propose k sets of positions, each drawn uniformly from a pool of certain ones (LookUM, arXiv:2511.05563).

    The pool holds the best-scored open positions: `pool` of them, or all whose score reaches the threshold; never fewer
    than the quota. Each path fills as many positions as the quota, drawn without replacement. At `draw.temperature` > 0
    each path draws its own tokens. Equal paths are merged, and the last step of a block has one path.

    The defaults are those of the paper: a pool of 5, and 2 paths. That sets are drawn uniformly is our reading of it.

    Args:
        paths: k.
        pool: positions in the pool.
        threshold: a position is in the pool from this score, and `pool` is not read; null: `pool` is read.
    """

    paths: int = 2
    pool: int = 5
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.paths <= MOST:
            raise MdmkitError(f"select lookum: paths={self.paths}: from 1 to {MOST}.")
        if self.pool < 1:
            raise MdmkitError(f"select lookum: pool={self.pool}: it is a number of positions, at least 1.")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise MdmkitError(f"select lookum: threshold={self.threshold}: it must be a finite number, or null.")

    @property
    def alternatives(self) -> int:
        return self.paths

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        if self.threshold is None:
            pool = ops.top(scores, step.open, step.quota.clamp_min(self.pool))
        else:
            pool = (step.open & (scores >= self.threshold)) | ops.top(scores, step.open, step.quota)
        drawn = step.noise("lookum_paths", self.paths)
        place = ops.top(drawn, pool[:, None], step.quota[:, None])
        tokens = step.draw(self.paths, "lookum_tokens")
        live = distinct(place, tokens) & place.any(-1)
        # The last step leaves no position open, so there is nothing to compare.
        live[:, 1:] &= (step.open.sum(1) > step.quota)[:, None]
        return Actions(place, tokens, live)


@dataclass(frozen=True)
class Verifier:
    """Draw one of the proposed states by its reward r, with probability ∝ exp(r / temperature) (arXiv:2511.05563).

    r is minus the mean entropy, or the mean confidence, of the positions that are still open afterwards: the paper's
    nested importance sampling (NIS). The draw is by Gumbel-max: the value of a state is r / temperature plus Gumbel
    noise, and the largest wins. At temperature 0 the value is r.

    The paper takes the mean over the full sequence. Whether it counts filled positions could not be checked. If all
    states leave the same number open, to count them as certain would only change the scale of r. The paper does not
    state its temperature; the default is our own.

    Args:
        measure: `entropy` (the paper's choice) or `confidence`.
        temperature: see above, nats for entropy.
        scope: `sequence` reads every open position that was recomputed, `block` those of the block.
    """

    measure: str = "entropy"
    temperature: float = 0.1
    scope: str = "sequence"

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise MdmkitError(f"lookahead lookum: temperature={self.temperature}: it must be 0 or more.")
        for name, choices in (("measure", REWARDS), ("scope", SCOPES)):
            if getattr(self, name) not in choices:
                raise MdmkitError(
                    f"lookahead lookum: {name}={getattr(self, name)!r}: it is one of {', '.join(choices)}."
                )

    def __call__(self, step: Step, actions: Actions, look: Look) -> Tensor:
        scope: Scope = "block" if self.scope == "block" else "sequence"
        rest = step.open[:, None] & ~actions.place if scope == "block" else look.remaining(scope)
        reward = mean_over(look(MEASURES[self.measure], scope), rest)
        if self.temperature == 0:
            return reward
        # One number per state, for any window: the counter's position is 0.
        nowhere = torch.zeros_like(step.tick)[:, None]
        drawn = noise.uniform(step.canvas.seed, step.tick, "lookum", reward.shape[1], nowhere)[..., 0]
        return reward / self.temperature + noise.gumbel(drawn)
