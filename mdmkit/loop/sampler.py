"""A sampler: the parts that were composed, frozen, and the door to the loop that runs them (`mdmkit.loop`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mdmkit.errors import MdmkitError, unknown
from mdmkit.model.cache import AUTO, CACHES
from mdmkit.settings.draw import Draw, Guidance
from mdmkit.settings.plan import Plan
from mdmkit.stage.protocols import Commit, Lookahead, Score, Select
from mdmkit.stage.search import Search
from mdmkit.stage.write import Write


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
