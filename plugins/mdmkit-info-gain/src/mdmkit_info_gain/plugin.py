"""The parts of this distribution."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_select() -> list[Component]:
    return [Component("branch", "mdmkit_info_gain.branch:Branch", "the greedy action, and alternatives that are drawn")]


@hookimpl
def mdmkit_lookahead() -> list[Component]:
    return [
        Component(
            "info_gain", "mdmkit_info_gain.lookahead:InfoGain", "information about the other positions, minus the cost"
        )
    ]


PRESETS = {
    "info_gain": "the paper's sampler: N = 8, block scope",
    "info_gain_plus": "beyond the paper: summed gain in surprisal, no neighbours at once, no bypass",
    "future_entropy": "least entropy afterwards; the action's cost does not count",
    "info_gain@gsm8k": "the paper's setting for GSM8K with Dream",
    "info_gain@math500": "the paper's setting for MATH-500 with Dream",
    "info_gain@humaneval": "the paper's setting for HumanEval with Dream",
    "info_gain@mbpp": "the paper's setting for MBPP with Dream",
    "info_gain@sudoku": "the paper's setting for Sudoku with Dream",
    "info_gain@countdown": "the paper's setting for Countdown with Dream",
    "info_gain@gsm8k_sdar": "the paper's setting for GSM8K with SDAR and TraDo",
    "info_gain@math500_sdar": "the paper's setting for MATH-500 with SDAR and TraDo",
    "info_gain@humaneval_sdar": "the paper's setting for HumanEval with SDAR and TraDo",
    "info_gain@mbpp_sdar": "the paper's setting for MBPP with SDAR and TraDo",
    "info_gain@gsm8k_llada": "the authors' public configuration for GSM8K with LLaDA",
    "info_gain@writing": "the paper's setting for creative writing with SDAR",
    "info_gain@t2i": "the paper's setting for text to image with MMaDA",
}


@hookimpl
def mdmkit_sampler() -> list[Component]:
    return [Component(name, f"mdmkit_info_gain:presets/{name}.yaml", summary) for name, summary in PRESETS.items()]
