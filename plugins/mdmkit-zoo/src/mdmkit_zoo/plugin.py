"""What this distribution registers."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_backbone() -> list[Component]:
    return [
        Component(
            "zoo", "mdmkit_zoo.zoo:Zoo", "small models that come with the toolkit: puzzles, antibody, bigram, digits"
        )
    ]


@hookimpl
def mdmkit_command() -> list[Component]:
    return [Component("zoo", "mdmkit_zoo.cli:zoo", "list the zoo's models, or make them again")]
