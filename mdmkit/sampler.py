"""A sampler: the parts that were composed, frozen, and the door to the loop that runs them (`mdmkit.loop`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from mdmkit.cache import AUTO, CACHES
from mdmkit.canvas import Canvas
from mdmkit.errors import MdmkitError, unknown
from mdmkit.loop import Loop
from mdmkit.model import Backbone
from mdmkit.observe import Observer
from mdmkit.plan import Plan
from mdmkit.search import Search, expand, settle
from mdmkit.stages import Commit, Lookahead, Score, Select, Write
from mdmkit.step import Draw, Guidance
from mdmkit.trace import Trace


@dataclass(frozen=True)
class Sampler:
    """Four stages and their settings, frozen: no registry, no config and no pluggy from here on.

    Build one with `mdmkit.compose`. `config` is the resolved configuration that it came from. `cache` names a policy of
    `mdmkit.cache`, or is `auto`: the model's own, which is exact; `refresh_every` is for those that are not.
    """

    score: Score
    select: Select
    lookahead: Lookahead | None = None
    commit: Commit = field(default_factory=Write)
    search: Search | None = None
    plan: Plan = field(default_factory=Plan)
    draw: Draw = field(default_factory=Draw)
    guidance: Guidance = field(default_factory=Guidance)
    cache: str = AUTO
    refresh_every: int | None = None
    seed: int = 0
    name: str = "custom"
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cache != AUTO and self.cache not in CACHES:
            raise MdmkitError(unknown("cache", self.cache, [AUTO, *CACHES]))
        if self.refresh_every is not None:
            approximate = [name for name, policy in CACHES.items() if policy.approximate]
            if self.cache not in approximate:
                raise MdmkitError(
                    f"cache.refresh_every={self.refresh_every} is for the caches that wear out "
                    f"({', '.join(approximate)}), and the cache is {self.cache}. Leave it out, or choose one of them."
                )
            if self.refresh_every < 1:
                raise MdmkitError(f"cache.refresh_every={self.refresh_every}: it is a number of steps, at least 1.")
        alternatives = getattr(self.select, "alternatives", 1)
        if alternatives > 1 and self.lookahead is None and not getattr(self.search, "chooses", False):
            raise MdmkitError(
                f"select {type(self.select).__name__!r} proposes {alternatives} alternatives but no lookahead chooses "
                "among them: add a lookahead, or have it propose one."
            )

    @torch.inference_mode()
    def run(
        self, backbone: Backbone, canvas: Canvas, conditioning: Any = None, observers: Iterable[Observer] = ()
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
            observer.on_start(self, backbone, canvas)
        if self.search is None:
            filled, trace = Loop(self, backbone, canvas, conditioning, observers).run()
        else:
            wide, condition = expand(canvas, conditioning, backbone, self.search.particles)
            loop = Loop(self, backbone, wide, condition, ())
            filled, trace = settle(self.search, canvas, *loop.run(), loop.memory)
        for observer in observers:
            observer.on_end(filled, trace)
        return filled, trace
