"""What this distribution registers."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_select() -> list[Component]:
    return [Component("branch", "mdmkit_info_gain.branch:Branch", "the greedy action and sampled alternatives to it")]


@hookimpl
def mdmkit_lookahead() -> list[Component]:
    return [
        Component(
            "info_gain", "mdmkit_info_gain.lookahead:InfoGain", "information gained about the rest, less the cost"
        )
    ]


@hookimpl
def mdmkit_sampler() -> list[Component]:
    presets = "mdmkit_info_gain:presets"
    return [
        Component("info_gain", f"{presets}/info_gain.yaml", "the paper's sampler: N = 8, block scope"),
        Component(
            "future_entropy", f"{presets}/future_entropy.yaml", "least entropy afterwards, whatever the action costs"
        ),
    ]
