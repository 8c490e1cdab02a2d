"""What this distribution registers."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_command() -> list[Component]:
    return [
        Component("eval", "mdmkit_tasks.cli:evaluate", "judge one sampler on one task"),
        Component("compare", "mdmkit_tasks.cli:compare", "judge samplers against each other on the same prompts"),
    ]
