"""Search: several trajectories, called particles, for each row; what does not factor into one trajectory's stages.

The loop is the same: particles are rows of a larger canvas, with random streams of their own. After each step a search
may let a particle move to the state of another one of its row, and at the end it says which particle is the answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from mdmkit import noise
from mdmkit.trace import Trace

if TYPE_CHECKING:
    from mdmkit.canvas import Canvas
    from mdmkit.look import Look
    from mdmkit.model import Backbone
    from mdmkit.step import Actions, Step


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


def expand(canvas: Canvas, conditioning: Any, backbone: Backbone, particles: int) -> tuple[Canvas, Any]:
    """Repeat every row for its particles; the first keeps the row's seed, so that one particle is the plain sampler."""
    rows = torch.arange(len(canvas.seed), device=canvas.seed.device).repeat_interleave(particles)
    number = torch.arange(particles, device=rows.device).repeat(len(canvas.seed))
    own = canvas.seed[rows]
    seed = torch.where(number == 0, own, noise.splitmix64(own ^ noise.splitmix64(number)))
    parts = {name: getattr(canvas, name)[rows] for name in ("tokens", "editable", "valid", "infill")}
    surplus = None if canvas.surplus is None else canvas.surplus[rows]
    wide = replace(canvas, **parts, seed=seed, surplus=surplus)
    return wide, backbone.select(conditioning, rows) if conditioning is not None else None


def settle(
    search: Search, canvas: Canvas, filled: Canvas, trace: Trace, memory: dict[str, Any]
) -> tuple[Canvas, Trace]:
    """Keep the best particle of each row of `canvas`; its NFE is that of all of them."""
    rows = torch.arange(len(canvas.seed), device=canvas.seed.device)
    slots = rows * search.particles + search.best(filled, trace, memory)
    return canvas.with_tokens(filled.tokens[slots]), trace.kept(slots, search.particles)
