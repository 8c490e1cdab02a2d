"""Search: several trajectories of each row, called particles.

The loop is the same as without a search: particles are rows of it, each with its own random stream. In each step a
search may let a particle copy the state of another particle of the same row. At the end it chooses the particle that
is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.trace import Trace
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.look import Look
    from mdmkit.stage.step import Step


class Search:
    """Decode several trajectories of each row: rows b·P to b·P + P − 1 of the loop are the particles of one row."""

    particles: ClassVar[int] = 1
    """P."""
    chooses: ClassVar[bool] = False
    """True if it chooses among alternatives itself, so that no lookahead is needed."""
    looks: ClassVar[bool] = False
    """True if it reads `look`: every live next state is then forwarded, also if no later step uses its belief."""
    reads: ClassVar[tuple[str, ...]] = ()

    def prune(self, step: Step, actions: Actions) -> Actions:
        """Remove alternatives before they are forwarded. A particle may lose all, but one must be left per row."""
        return actions

    def move(
        self, step: Step, actions: Actions, values: Tensor | None, choice: Tensor, look: Look | None
    ) -> tuple[Tensor, Tensor]:
        """Choose the next state of each particle: parents and choice, both int64 [B·P].

        Particle s becomes alternative choice[s] of particle parents[s], which must belong to the same row. `values`
        [B·P, N] and `choice` are the lookahead's. `look` shows every state that was forwarded, or is None. Remembered
        values are copied to the particles afterwards. Values that this call keeps are not: index s is the new particle.
        """
        raise NotImplementedError

    def best(self, canvas: Canvas, trace: Trace, kept: Mapping[str, Tensor]) -> Tensor:
        """Choose the particle that is each row's answer: int64 [B], from 0 to P − 1.

        `kept` holds the remembered values of the B·P particles, by name; a name that was never kept is absent.
        """
        raise NotImplementedError
