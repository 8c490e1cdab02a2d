"""The particles of a search as rows of a larger canvas, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from mdmkit import noise
from mdmkit.canvas.trace import Trace

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.model.backbone import Backbone
    from mdmkit.stage.search import Search


def expand(canvas: Canvas, conditioning: Any, backbone: Backbone, particles: int) -> tuple[Canvas, Any]:
    """Repeat every row for its particles; the first keeps the row's seed, so that one particle is the plain sampler."""
    rows = torch.arange(len(canvas.seed), device=canvas.seed.device).repeat_interleave(particles)
    number = torch.arange(particles, device=rows.device).repeat(len(canvas.seed))
    own = canvas.seed[rows]
    seed = torch.where(number == 0, own, noise.splitmix64(own ^ noise.splitmix64(number)))
    parts = {name: getattr(canvas, name)[rows] for name in ("tokens", "editable", "valid", "infill")}
    surplus = None if canvas.surplus is None else canvas.surplus[rows]
    wide = replace(canvas, **parts, seed=seed, surplus=surplus)
    if backbone.guided:
        rows = torch.cat((rows, rows + len(canvas.seed)))
    return wide, backbone.select(conditioning, rows) if conditioning is not None else None


def settle(
    search: Search, canvas: Canvas, filled: Canvas, trace: Trace, memory: dict[str, Any]
) -> tuple[Canvas, Trace]:
    """Keep the best particle of each row of `canvas`; its NFE is that of all of them."""
    rows = torch.arange(len(canvas.seed), device=canvas.seed.device)
    slots = rows * search.particles + search.best(filled, trace, memory)
    return canvas.with_tokens(filled.tokens[slots]), trace.kept(slots, search.particles)
