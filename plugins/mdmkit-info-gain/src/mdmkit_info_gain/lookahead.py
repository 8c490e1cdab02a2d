"""The objective of Info-Gain: what a next state tells about the open positions, minus the cost of the action."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from mdmkit import Actions, Belief, Look, Scope, Step

CHOICES = {
    "scope": ("block", "sequence"),
    "reference": ("paper", "matched"),
    "normalise": ("mean", "k_mean", "sum"),
    "cost": ("entropy", "surprisal", "none"),
    "uncertainty": ("entropy", "surprisal"),
}


@dataclass(frozen=True)
class InfoGain:
    """J = gain_weight · IG − C, higher is better (arXiv:2602.18176).

    C sums over the action's K positions; IG compares the uncertainty of the open positions before and after it:

    | reference | IG with normalise `mean` (M open before, A filled, both within the scope) |
    |---|---|
    | `paper` | mean of H(z_t) over M − mean of H(z_{t−1}) over M∖A |
    | `matched` | mean over M∖A of H(z_t) − H(z_{t−1}): the same positions twice (arXiv:2608.26580, Eq. 3–4) |

    `k_mean` multiplies by K, so that the gain is in proportion to a cost that is summed over K positions. `sum` uses
    sums instead of means. A mean over no positions is 0. All are in nats.

    With uncertainty and cost `surprisal`, normalise `sum` and reference `paper`, J is, up to a constant, the
    log-probability of the tokens written now and of the most probable ones everywhere else.

    Args:
        scope: `block` reads the block's open positions (the paper), `sequence` every open position that was recomputed
            (the authors' public code).
        reference: see above.
        gain_weight: weight of IG.
        normalise: see above.
        cost: `entropy` of the filled positions (the paper), `surprisal` of the tokens written, or `none`.
        uncertainty: of an open position: its `entropy` H (the paper), or the `surprisal` of its most probable token,
            −log max p.
        positions: look at most at this number of open positions, the most uncertain ones now, and assume that the
            others do not change. The head, which may cost more than the trunk, runs only there. Null: look at all.
    """

    scope: str = "block"
    reference: str = "paper"
    gain_weight: float = 1.0
    normalise: str = "mean"
    cost: str = "entropy"
    uncertainty: str = "entropy"
    positions: int | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.gain_weight):
            raise MdmkitError(f"lookahead info_gain: gain_weight={self.gain_weight}: it must be a finite number.")
        if self.positions is not None and self.positions < 1:
            raise MdmkitError(f"lookahead info_gain: positions={self.positions}: a number from 1 up, or null for all.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise MdmkitError(
                    f"lookahead info_gain: {name}={getattr(self, name)!r}: it is one of {', '.join(choices)}."
                )

    def __call__(self, step: Step, actions: Actions, look: Look) -> Tensor:
        return self.gain_weight * self._gain(step, actions, look) - self._cost(step, actions)

    def _cost(self, step: Step, actions: Actions) -> Tensor:
        if self.cost == "none":
            return torch.zeros(actions.live.shape, device=actions.live.device)
        if self.cost == "entropy":
            each = step.belief.entropy[:, None]
        else:
            each = -step.belief.logp_of(actions.tokens.transpose(1, 2)).transpose(1, 2)
        return _sum(each, actions.place)

    def _gain(self, step: Step, actions: Actions, look: Look) -> Tensor:
        measure = _entropy if self.uncertainty == "entropy" else _surprisal
        scope: Scope = "block" if self.scope == "block" else "sequence"
        if scope == "block":
            before = step.open  # [B, S]
            now = measure(step.belief)
            after = step.open[:, None] & ~actions.place  # [B, N, S]
        else:
            before, after = look.open(scope), look.remaining(scope)
            now = look.now(measure, scope)
        ahead = self._ahead(look, measure, scope, now, before)
        filled = actions.place.sum(-1)
        rest = after.sum(-1).clamp_min(1)
        later = _sum(ahead, after)
        if self.reference == "matched":
            earlier = _sum(now[:, None], after)
            return (earlier - later) * self._scale(filled) / self._count(rest)
        earlier = _sum(now, before)[:, None] / self._count(before.sum(-1).clamp_min(1))[..., None]
        return (earlier - later / self._count(rest)) * self._scale(filled)

    def _ahead(
        self, look: Look, measure: Callable[[Belief], Tensor], scope: Scope, now: Tensor, before: Tensor
    ) -> Tensor:
        """Each position's uncertainty in each next state, [B, N, S]; where the head does not run, the current one."""
        if self.positions is None or self.positions >= now.shape[1]:
            return look(measure, scope)
        order = torch.where(before, now, -torch.inf).argsort(dim=-1, descending=True, stable=True)
        at = order[:, : self.positions]  # the same positions for every alternative, so that they can be compared
        seen = look(measure, scope, at)
        everywhere = now[:, None].expand(-1, seen.shape[1], -1)
        return everywhere.scatter(-1, at[:, None].expand_as(seen), seen)

    def _count(self, positions: Tensor) -> Tensor:
        """The divisor of a sum over this number of positions."""
        return positions.clamp_max(1) if self.normalise == "sum" else positions

    def _scale(self, filled: Tensor) -> Tensor:
        return filled if self.normalise == "k_mean" else filled.clamp(1, 1)


def _sum(values: Tensor, where: Tensor) -> Tensor:
    """Sum over the last dimension. Values outside `where` have no effect, NaN included."""
    return torch.where(where, values, 0.0).sum(-1)


def _entropy(belief: Belief) -> Tensor:
    return belief.entropy


def _surprisal(belief: Belief) -> Tensor:
    return belief.stats.lse - belief.stats.top
