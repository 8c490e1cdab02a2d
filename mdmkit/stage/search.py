"""Search: several trajectories, called particles, for each row; what does not factor into one trajectory's stages.

The loop is the same: particles are rows of it, with random streams of their own. After each step a search may let a
particle move to the state of another one of its row, and at the end it says which particle is the answer.
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
    """Several trajectories of each row: rows b·P to b·P + P − 1 of the loop are the particles of one row."""

    particles: ClassVar[int] = 1
    """P."""
    chooses: ClassVar[bool] = False
    """Whether it chooses among alternatives itself, so that no lookahead is needed."""
    looks: ClassVar[bool] = False
    """Whether it reads `look`: every live state is then forwarded, also where nothing would carry its belief on."""
    reads: ClassVar[tuple[str, ...]] = ()

    def prune(self, step: Step, actions: Actions) -> Actions:
        """Take alternatives out before they are forwarded; a particle may lose all of its own, a row may not."""
        return actions

    def move(
        self, step: Step, actions: Actions, values: Tensor | None, choice: Tensor, look: Look | None
    ) -> tuple[Tensor, Tensor]:
        """Which state each particle moves to: parents and choice, both int64 [B·P].

        Particle s becomes alternative choice[s] of particle parents[s], one of its own row's. `values` [B·P, N] and
        `choice` are what the lookahead made of the step; `look` sees every state that was forwarded, None where none
        was. What is remembered follows the particles afterwards; a value that this call keeps is taken as it is, in the
        new places.
        """
        raise NotImplementedError

    def best(self, canvas: Canvas, trace: Trace, kept: Mapping[str, Tensor]) -> Tensor:
        """The particle that is each row's answer, int64 [B], from 0 to P − 1.

        `kept` is what was remembered of the B·P particles, by name; a name that was never kept is absent.
        """
        raise NotImplementedError
