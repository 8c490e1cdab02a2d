"""The hooks of a plugin. A hook lists components; it takes no arguments, and runs once, when a part is first needed.

A plugin is a module with functions of these names, marked `@mdmkit.hookimpl`, that return components:

    from mdmkit import Component, hookimpl

    @hookimpl
    def mdmkit_score():
        return [Component("margin", "my_package.scores:Margin", "how far the best token leads the second")]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("mdmkit")
hookimpl = pluggy.HookimplMarker("mdmkit")


@dataclass(frozen=True, slots=True)
class Component:
    """One named part of a plugin.

    Args:
        name: its name in configs and on the command line.
        target: `"package.module:Attr"`, imported only when the part is used, or the object itself.
            A preset's target is `"package:path/inside/it.yaml"`.
        summary: one line for `mdmkit plugins`.
    """

    name: str
    target: Any
    summary: str = ""


@hookspec
def mdmkit_score() -> Iterable[Component]:  # type: ignore[empty-body]
    """How early to fill each open position: a frozen dataclass, `(step) -> float [B, W]`, higher = sooner."""


@hookspec
def mdmkit_select() -> Iterable[Component]:  # type: ignore[empty-body]
    """Which alternative actions to propose: a frozen dataclass, `(step, scores) -> Actions`."""


@hookspec
def mdmkit_lookahead() -> Iterable[Component]:  # type: ignore[empty-body]
    """How good each proposed next state is: a frozen dataclass, `(step, actions, look) -> float [B, N]`."""


@hookspec
def mdmkit_commit() -> Iterable[Component]:  # type: ignore[empty-body]
    """How the chosen action is written: a frozen dataclass, `(step, actions, choice [B]) -> Canvas`."""


@hookspec
def mdmkit_search() -> Iterable[Component]:  # type: ignore[empty-body]
    """Several trajectories per row: a frozen dataclass with `particles`, `move(…)` and `best(canvas, trace, kept)`."""


@hookspec
def mdmkit_stop() -> Iterable[Component]:  # type: ignore[empty-body]
    """When a row ends although positions are still open: a frozen dataclass, `(step) -> bool [B]`."""


@hookspec
def mdmkit_constraint() -> Iterable[Component]:  # type: ignore[empty-body]
    """Which texts are allowed: a frozen dataclass with `shape(logits, states, columns)` and `settle(…)`."""


@hookspec
def mdmkit_sampler() -> Iterable[Component]:  # type: ignore[empty-body]
    """A named sampler: a preset (YAML inside the package)."""


@hookspec
def mdmkit_backbone() -> Iterable[Component]:  # type: ignore[empty-body]
    """A model family: a `Backbone` subclass."""


@hookspec
def mdmkit_observer() -> Iterable[Component]:  # type: ignore[empty-body]
    """An observer that watches a decode: a class with `on_step(step, actions, choice)`."""


@hookspec
def mdmkit_engine() -> Iterable[Component]:  # type: ignore[empty-body]
    """Who decodes the units of a decode: a frozen dataclass, `(work) -> Iterator[Outcome]`."""


@hookspec
def mdmkit_task() -> Iterable[Component]:  # type: ignore[empty-body]
    """Prompts and a judge: a `Task`, or any class with its `prompts(count, seed)` and `judge(prompt, answer)`."""


@hookspec
def mdmkit_command() -> Iterable[Component]:  # type: ignore[empty-body]
    """A command of `mdmkit`: a click command."""
