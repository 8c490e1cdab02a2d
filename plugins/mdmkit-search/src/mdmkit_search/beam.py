"""Beam search on Info-Gain's objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from mdmkit import Actions, MdmkitError
from mdmkit_search.entropy import entropy_ahead
from mdmkit_search.least import first_least

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from mdmkit import Canvas, Look, Step, Trace

# The kept value of each beam: its cost so far, nats.
COST = "beam.cost"


@dataclass(frozen=True)
class Beam:
    """Keep the B beams with the least cost so far plus uncertainty left (beam search of arXiv:2602.18176).

    The select proposes candidates for each beam z_t with cost C̃: N / B candidates for a budget of N. Of all candidates
    a of a row's beams, the B are kept for which

        C̃(z_t) + C(a) + H(z_{t−1})

    is lowest. C(a) is the sum of the entropies of the positions that a fills, H(z_{t−1}) the mean entropy of the
    positions then open in the block, both in nats. With one beam this is argmax J_IG, the Info-Gain Sampler. The answer
    is the beam with the lowest cost, which is its cumulative uncertainty H̃.

    A row starts as one beam. Of beams or candidates with the same tokens and the same open positions, only the cheapest
    counts and is forwarded. While there are fewer than B candidates, there are fewer than B beams. A beam that has
    filled its block waits for the others; it is its own only candidate.

    Args:
        particles: B.
    """

    particles: int = 2

    chooses: ClassVar[bool] = True
    looks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.particles < 1:
            raise MdmkitError(f"search beam: particles={self.particles}: at least 1 beam.")

    def prune(self, step: Step, actions: Actions) -> Actions:
        """Remove candidates that are equal to a cheaper one."""
        rivals = self._rivals(step, actions, self._cost(step, actions))
        return actions.without(~rivals)

    def move(
        self, step: Step, actions: Actions, values: Tensor | None, choice: Tensor, look: Look | None
    ) -> tuple[Tensor, Tensor]:
        if values is not None:
            raise MdmkitError(
                "search beam chooses by cost and uncertainty itself, and would ignore a lookahead: set lookahead to "
                "null."
            )
        p, n = self.particles, actions.live.shape[1]
        cost = self._cost(step, actions)
        total = cost + entropy_ahead(step, actions, look)
        total = total.masked_fill(~self._rivals(step, actions, cost), torch.inf).view(-1, p * n)
        order = total.argsort(dim=1, stable=True)[:, :p]
        # If there are fewer candidates than beams, the other beams copy the best one, until a step finds more.
        order = torch.where(total.gather(1, order) < torch.inf, order, order[:, :1])

        places = torch.arange(step.rows, device=choice.device).view(-1, p)
        busy = step.active.view(-1, p).any(1, keepdim=True)
        order = torch.where(busy, order, (places - places[:, :1]) * n)
        step.keep(COST, cost.view(-1, p * n).gather(1, order).flatten())
        return (places[:, :1] + order // n).flatten(), (order % n).flatten()

    def best(self, canvas: Canvas, trace: Trace, kept: Mapping[str, Tensor]) -> Tensor:
        return first_least(trace.uncertainty.view(-1, self.particles))

    def _cost(self, step: Step, actions: Actions) -> Tensor:
        """The cost of each candidate's path, float64 [B·P, N]."""
        each = torch.where(actions.place, step.belief.entropy.double()[:, None], 0.0)
        return _so_far(step)[:, None] + each.sum(-1)

    def _rivals(self, step: Step, actions: Actions, cost: Tensor) -> Tensor:
        """Mark the candidates that count, bool [B·P, N]: of equal ones the cheapest, of equally cheap the first."""
        p, n = self.particles, actions.live.shape[1]
        beams = _state(step.canvas.tokens, step.canvas.open).unflatten(0, (-1, p))
        so_far = _so_far(step).view(-1, p)
        alone = _first(beams, so_far, torch.ones_like(so_far, dtype=torch.bool)).view(-1, 1)

        # A beam that has nothing to fill is its own candidate, as its first alternative.
        waits = torch.zeros_like(actions.live)
        waits[:, 0] = ~step.open.any(1)
        candidates = (actions.live | waits) & alone
        states = _state(*step.states(actions)).reshape(len(beams), p * n, -1)
        return _first(states, cost.view(-1, p * n), candidates.view(-1, p * n)).view(-1, n)


def _so_far(step: Step) -> Tensor:
    """The cost of each beam so far, float64 [B·P]."""
    return step.recall(COST, fill=0.0, dtype=torch.float64)


def _state(tokens: Tensor, open_: Tensor) -> Tensor:
    """Tokens, and −1 at open positions, int64: two states are the same if this is equal."""
    return tokens.masked_fill(open_, -1)


def _first(states: Tensor, cost: Tensor, eligible: Tensor) -> Tensor:
    """Mark the cheapest of equal eligible states: states int64 [B, M, T], cost and eligible [B, M] -> bool [B, M]."""
    same = (states[:, :, None] == states[:, None]).all(-1) & eligible[:, None]  # [B, M, M]; last: the other state
    place = torch.arange(cost.shape[1], device=cost.device)
    earlier = (cost[:, None] == cost[:, :, None]) & (place < place[:, None])
    beaten = same & ((cost[:, None] < cost[:, :, None]) | earlier)
    return eligible & ~beaten.any(-1)
