"""A sampler: the composed parts, frozen. `mdmkit.loop.loop` runs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mdmkit.errors import MdmkitError, unknown
from mdmkit.model.cache import AUTO, CACHES
from mdmkit.settings.draw import Draw, Guidance
from mdmkit.settings.numbers import is_whole
from mdmkit.settings.plan import Plan
from mdmkit.stage.checking import check_part
from mdmkit.stage.protocols import Commit, Constraint, Lookahead, Score, Select, Stop
from mdmkit.stage.search import Search
from mdmkit.stage.traits import HOMES, trait
from mdmkit.stage.write import Write


@dataclass(frozen=True)
class Sampler:
    """The parts and their settings, frozen. The loop reads only this object: no registry, no config, no pluggy.

    Build one with `mdmkit.compose`. `config` is the resolved configuration that it was made from. `cache` names a class
    of `mdmkit.model.cache`, or is `auto`: an exact one that the model chooses. `refresh_every` is for approximate ones.
    """

    score: Score
    select: Select
    lookahead: Lookahead | None = None
    commit: Commit = field(default_factory=Write)
    search: Search | None = None
    stop: Stop | None = None
    constraint: Constraint | None = None
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
                    f"cache.refresh_every={self.refresh_every} is for the approximate caches "
                    f"({', '.join(approximate)}), and the cache is {self.cache}. Leave it out, or choose one of them."
                )
            if not is_whole(self.refresh_every) or self.refresh_every < 1:
                raise MdmkitError(f"cache.refresh_every={self.refresh_every!r}: it is a number of steps, at least 1.")
        for kind, part in self.stages().items():
            check_part(kind, part)
        alternatives = trait("select", self.select, "alternatives")
        chooses = self.search is not None and trait("search", self.search, "chooses")
        if alternatives > 1 and self.lookahead is None and not chooses:
            raise MdmkitError(
                f"select {type(self.select).__name__!r} proposes {alternatives} alternatives but no lookahead chooses "
                "among them: add a lookahead, or have it propose one."
            )

        self._check_whole()

    def _check_whole(self) -> None:
        """Refuse, beside a constraint on the whole answer, parts that change or leave out positions unseen by it."""
        if not trait("constraint", self.constraint, "whole"):
            return
        stop = self.stop is not None and trait("stop", self.stop, "fill") != "best"
        rewrites = trait("commit", self.commit, "rewrites")
        commit = rewrites and not trait("commit", self.commit, "only_reopens")
        why = (
            (stop and f"stop {self.name_of('stop')!r} leaves positions of the answer open")
            or (commit and f"commit {self.name_of('commit')!r} replaces tokens")
            or (self.plan.room and f"plan.room={self.plan.room} lets a row grow")
        )
        if why:
            raise MdmkitError(
                f"constraint {self.name_of('constraint')!r} is kept by a whole answer, and {why}, so the answer could "
                "break it. Leave out one of the two."
            )

    def stages(self) -> dict[str, Any]:
        """The sampler's parts, by kind; kinds without a part are left out."""
        return {kind: getattr(self, kind) for kind in HOMES if getattr(self, kind) is not None}

    def name_of(self, kind: str) -> str:
        """The name of a part in the configuration; without one, the name of its class."""
        node = self.config.get(kind)
        return node["name"] if isinstance(node, dict) and "name" in node else type(getattr(self, kind)).__name__

    def __getattr__(self, name: str) -> Any:
        if name == "run":
            raise MdmkitError(
                "sampler.run is of the first edition of mdmkit: write mdmkit.decode(sampler, backbone, prompts), or "
                "mdmkit.loop.whole.fill_canvas(sampler, backbone, canvas, conditioning) for a canvas."
            )
        raise AttributeError(f"a Sampler has no attribute {name!r}")
