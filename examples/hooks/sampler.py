"""A sampler: the same, under a name of its own."""

from __future__ import annotations

from mdmkit import Component, hookimpl

BOLD_MARGIN = {
    "note": "Two tokens a step around the surest position, with a little randomness about which.",
    "forwards": 1,
    "deterministic": False,
    "score": "margin",
    "select": {"name": "top_k", "temperature": 0.05},
    "plan": {"tokens_per_step": 2},
}


@hookimpl
def mdmkit_sampler():
    return [Component("bold_margin", BOLD_MARGIN, "margin, two tokens a step")]
