"""One canvas from its first mask to its last, with the search and the observers that hang on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from mdmkit.loop.loop import Loop
from mdmkit.loop.particles import expand, settle

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.trace import Trace
    from mdmkit.loop.observe import Observer
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone


@torch.inference_mode()
def fill_canvas(
    sampler: Sampler, backbone: Backbone, canvas: Canvas, conditioning: Any = None, observers: Iterable[Observer] = ()
) -> tuple[Canvas, Trace]:
    """Fill every mask of a canvas; return the filled canvas and the trace.

    Under a search observers hear when a batch starts and ends, not of the steps, which are those of the particles.

    Raises:
        MdmkitError: the backbone lacks the cache, the logits are not numbers, a select fills nothing in a row, or a
            commit leaves masks.
    """
    observers = tuple(observers)
    canvas = canvas.to(backbone.device)
    for observer in observers:
        observer.on_start(sampler, backbone, canvas)
    if sampler.search is None:
        filled, trace = Loop(sampler, backbone, canvas, conditioning, observers).run()
    else:
        wide, condition = expand(canvas, conditioning, backbone, sampler.search.particles)
        loop = Loop(sampler, backbone, wide, condition, ())
        filled, trace = settle(sampler.search, canvas, *loop.run(), loop.memory)
    for observer in observers:
        observer.on_end(filled, trace)
    return filled, trace
