"""Search: several trajectories, called particles, for each row; what does not factor into one trajectory's stages.

The loop is the same: particles are rows of a larger canvas, with random streams of their own. After each step a search
may let a particle move to the state of another one of its row, and at the end it says which particle is the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

from mdmkit.canvas.trace import Trace

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.look import Look
    from mdmkit.stage.step import Step


@runtime_checkable
class Search(Protocol):
    """`particles` is P: rows b·P to b·P + P − 1 of the loop belong to row b of the canvas.

    Optional, where present: `chooses = True` says that it chooses among alternatives itself, so that no lookahead is
    needed; `looks = True` that it reads `look`, so that every live state is forwarded, also where its belief is not
    carried on; `prune(step, actions) -> Actions` takes alternatives out before they are forwarded, all of a particle's
    own included, as long as one of each row stays.
    """

    particles: int

    def move(
        self, step: Step, actions: Actions, values: Tensor | None, choice: Tensor, look: Look | None
    ) -> tuple[Tensor, Tensor]:
        """Which state each particle moves to: parents and choice, both int64 [B·P].

        Particle s becomes alternative choice[s] of particle parents[s], one of its own row's. `values` [B·P, N] and
        `choice` are what the lookahead made of the step; `look` sees every state that was forwarded, None where none
        was, which is the last step of a block.

        Tensors in `step.memory` with B·P rows follow their particles afterwards; one that this call puts there is taken
        as it is, in the new places.
        """

    def best(self, canvas: Canvas, trace: Trace, memory: dict[str, Any]) -> Tensor:
        """The particle that is each row's answer, int64 [B], from 0 to P − 1.

        `memory` is `step.memory` as the last step left it: empty where nothing was masked.
        """
