"""What this distribution registers."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_score() -> list[Component]:
    scores = "mdmkit_heuristics.scores"
    return [
        Component("confidence", f"{scores}:Confidence", "probability of the token that would be written"),
        Component("entropy", f"{scores}:Entropy", "negative entropy of the position"),
        Component("margin", f"{scores}:Margin", "lead of the best token over the second"),
        Component("random", f"{scores}:Random", "a uniform number per position"),
        Component("left_to_right", f"{scores}:LeftToRight", "the leftmost open position first"),
    ]


@hookimpl
def mdmkit_select() -> list[Component]:
    selects = "mdmkit_heuristics.selects"
    return [
        Component("top_k", f"{selects}:TopK", "as many of the best positions as the plan owes"),
        Component("threshold", f"{selects}:Threshold", "every position that is sure enough, always at least one"),
    ]


@hookimpl
def mdmkit_sampler() -> list[Component]:
    presets = "mdmkit_heuristics:presets"
    return [
        Component("confidence", f"{presets}/confidence.yaml", "most confident positions first"),
        Component("entropy", f"{presets}/entropy.yaml", "lowest-entropy positions first"),
        Component("margin", f"{presets}/margin.yaml", "widest margins first"),
        Component("random", f"{presets}/random.yaml", "positions in random order"),
        Component("left_to_right", f"{presets}/left_to_right.yaml", "autoregressive order"),
        Component("threshold", f"{presets}/threshold.yaml", "all positions at or above 0.9 at once"),
    ]
