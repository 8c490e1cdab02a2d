"""FreeDave against the static sampler that it drafts: the same tokens, in how many calls of the model?

    python benchmarks/freedave.py [--prompts 200] [--models puzzles,bigram]

Prints a table of counts, for every model of the zoo: the prompts whose tokens differ, and calls and rows of a prompt
decoded alone. A step of either sampler takes one call, so a prompt's calls are its steps, and prompts share batches
here. One thread, fp32. All models have full attention; `zoo:puzzles` is also loaded with attention by blocks of 8,
which it was not trained for, because only such a model has the cache `block`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
import torch

import mdmkit
from mdmkit_zoo import tasks

BATCH = 16


@dataclass(frozen=True)
class Case:
    """A model, its prompts, and the settings of its decodes."""

    model: str
    label: str
    prompts: Sequence[Any]
    settings: tuple[str, ...] = ()
    options: tuple[tuple[str, int], ...] = ()


def cases(count: int) -> Iterator[Case]:
    half = count // 2
    puzzles = [*tasks.Sudoku4().prompts(half, 0), *tasks.Countdown().prompts(count - half, 0)]
    yield Case("puzzles", "one block", puzzles)
    yield Case("puzzles", "blocks of 8", puzzles, ("plan.block=8",))
    blocks: dict[str, Any] = {"settings": ("plan.block=8", "cache=block"), "options": (("block_length", 8),)}
    yield Case("puzzles", "blocks of 8, cache `block`", puzzles, **blocks)
    yield Case("antibody", "one block", tasks.Antibody().prompts(count, 0))
    yield Case("bigram", "one block", tasks.BigramLikelihood().prompts(count, 0))
    yield Case("digits", "one block", [str(digit) for digit in range(10)])


def decode(case: Case, backbone: mdmkit.Backbone, sampler: str, k: int, *more: str) -> mdmkit.Decoded:
    overrides = [*case.settings, f"plan.tokens_per_step={k}", *more]
    return mdmkit.decode(mdmkit.compose(sampler, overrides=overrides), backbone, case.prompts, batch=BATCH)


def steps(decoded: mdmkit.Decoded) -> int:
    return sum(max(row.order) + 1 for row in decoded.rows)


@click.command()
@click.option("--prompts", default=200, show_default=True, help="Prompts per model; digits have ten.")
@click.option("--models", default="puzzles,antibody,bigram,digits", show_default=True)
def main(prompts: int, models: str) -> None:
    torch.set_num_threads(1)
    print("| model | decoded in | K | D | prompts that differ | calls, static | calls | share | rows, share |")
    print("|---" * 9 + "|", flush=True)
    for case in cases(prompts):
        if case.model not in models.split(","):
            continue
        backbone = mdmkit.load(f"zoo:{case.model}", device="cpu", **dict(case.options))
        for k in (1, 2):
            static = decode(case, backbone, "confidence", k)
            for depth in (4, 8):
                drafted = decode(case, backbone, "freedave", k, f"select.depth={depth}")
                differ = sum(a.tokens != b.tokens for a, b in zip(static.rows, drafted.rows, strict=True))
                count, before = len(case.prompts), steps(static)
                print(
                    f"| {case.model} | {case.label} | {k} | {depth} | {differ} of {count} | {before / count:.1f} "
                    f"| {steps(drafted) / count:.1f} | {steps(drafted) / before:.2f} "
                    f"| {drafted.nfe['rows'] / static.nfe['rows']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
