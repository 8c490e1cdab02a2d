"""What `benchmarks/constrain.py` measures on zoo:puzzles: how many answers are right under a rule of their form."""

from __future__ import annotations

import itertools
import re
from typing import Any

import mdmkit
from mdmkit_zoo.puzzles import texts

MASK = texts.MASK
# The draws at temperature 1 of which the first one that keeps the rule is the answer; without one it is wrong.
TRIES = 16
# By task and rule, the tokens per step and the temperatures.
CELLS = {
    ("sudoku4", "rows"): ((4, 16), (0.0, 1.0)),
    ("countdown", "form"): ((4, 16), (1.0,)),
    ("countdown", "numbers"): ((1, 4, 16), (0.0, 1.0)),
    ("one_way", "form"): ((4, 16), (1.0,)),  # its prompt is always the same, so that greedy answers are, too
}


def pattern(task: str, rule: str, prompt: str) -> str:
    """The pattern of an answer: of what stands from the first mask to the last one."""
    first, last = prompt.index(MASK), prompt.rindex(MASK) + 1
    if task == "sudoku4":
        rows = [prompt[i : i + 4] for i in range(0, len(prompt), 5)]
        parts = [_row(row, first - 5 * i, last - 5 * i) for i, row in enumerate(rows)]
        return "/".join(part for part in parts if part)
    if task == "one_way":
        return r"[2-9]\*[2-9]=[01]{7}"
    if rule == "form":
        return r"\d[+-]\d=\d\d,\d\d[+-]0\d=\d\d"
    found = re.match(r"(\d),(\d),(\d)>(\d\d):", prompt)
    assert found is not None
    *numbers, target = found.groups()
    ways = [rf"{p}[+-]{q}=\d\d,(\d\d[+-]0{r}|0{r}-0\d)" for p, q, r in sorted({*itertools.permutations(numbers)})]
    return f"({'|'.join(ways)})={target}"


def _row(row: str, first: int, last: int) -> str:
    """The ways to fill a row, those of its cells that lie within [first, last)."""
    every = ("".join(cells) for cells in itertools.permutations("1234"))
    fits = [way for way in every if all(given in (MASK, cell) for given, cell in zip(row, way, strict=True))]
    ways = sorted({way[max(first, 0) : max(last, 0)] for way in fits})
    if not fits:
        raise ValueError(f"no row fits {row}")
    return f"({'|'.join(ways)})" if ways != [""] else ""


def cell(
    backbone: Any, task: str, rule: str, prompts: list[str], mode: str, k: int, temperature: float
) -> dict[str, Any]:
    """Decode the prompts once, or, with `rejection`, until an answer keeps the rule.

    Returns:
        what was asked for; `right` and `kept`, 0 or 1 by prompt; `draws`, decodes by prompt, on average.
    """
    patterns = [pattern(task, rule, prompt) for prompt in prompts]
    constraint = None if mode in ("none", "rejection") else "by_prompt"
    settings = {"plan": {"tokens_per_step": k}, "draw": {"temperature": temperature}}
    made = mdmkit.compose("confidence", constraint=constraint, **settings)
    left, answers, draws = list(range(len(prompts))), [""] * len(prompts), 0
    for seed in range(TRIES if mode == "rejection" else 1):
        asked: list[dict[str, Any]] = [{"prompt": prompts[i], "seed": 1000 * i + seed} for i in left]
        if constraint:
            asked = [
                {**each, "rule": {"name": "regex", "pattern": patterns[i], "mode": mode}}
                for i, each in zip(left, asked, strict=True)
            ]
        found = mdmkit.decode(made, backbone, asked, batch=50).texts
        draws += len(left)
        for i, text in zip(left, found, strict=True):
            answers[i] = text
        left = [i for i in left if not _keeps(patterns[i], prompts[i], answers[i])]
    right = [int(texts.judge(task, p, a)) for p, a in zip(prompts, answers, strict=True)]
    kept = [int(i not in left) for i in range(len(prompts))]
    about = {"task": task, "rule": rule, "draws": mode, "k": k, "temperature": temperature}
    return {**about, "right": right, "kept": kept, "decodes": draws / len(prompts)}


def _keeps(rule: str, prompt: str, text: str) -> bool:
    return bool(re.fullmatch(rule, text[prompt.index(MASK) : prompt.rindex(MASK) + 1], re.ASCII))


def puzzles(backbone: Any, count: int) -> list[dict[str, Any]]:
    """All cells: each task, rule, number of tokens per step and temperature."""
    out = []
    for (task, rule), (counts, temperatures) in CELLS.items():
        prompts = texts.instances(task, min(count, texts.available(task)), 0)
        for k, temperature in itertools.product(counts, temperatures):
            for mode in ("none", "mask", "exact", *(["rejection"] if temperature else [])):
                out.append(cell(backbone, task, rule, prompts, mode, k, temperature))
                own = out[-1]
                print(
                    *(own[key] for key in ("task", "rule", "draws", "k", "temperature", "decodes")),
                    *(sum(own[key]) / len(prompts) for key in ("right", "kept")),
                    flush=True,
                )
    return out
