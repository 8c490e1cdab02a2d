"""What a rule costs beside a whole step: a real vocabulary of 131,072 tokens, a JSON schema of 20 fields, 8 rows.

    pip download --no-deps mistral-common && unzip mistral_common-*.whl
    python benchmarks/constrain_step.py mistral_common/data/tekken_240718.json [--pairs 9]

The model has random weights: two layers and a head with d = 768, so that a step takes about as long as that of a small
model on a CPU. Each measurement is the first block of an answer of 256 positions, 32 positions of 8 rows in 8 steps,
with and without the rule, one after the other. Prints the median of the ratios, and its range. One thread.
"""

from __future__ import annotations

import base64
import json
import statistics
import time
from pathlib import Path
from typing import Any

import click
import torch

from mdmkit import Engine, Prompt, compose
from mdmkit.testing import ToyBackbone

KINDS: list[dict[str, Any]] = [
    {"type": "string", "maxLength": 12},
    {"type": "integer"},
    {"type": "boolean"},
    {"enum": ["red", "green", "blue"]},
]
SCHEMA = {
    "type": "object",
    "properties": {f"field_{i}": KINDS[i % 4] for i in range(20)},
    "required": [f"field_{i}" for i in range(20)],
}
ROWS, SPECIAL, VOCAB, STEPS = 8, 1_000, 131_072, 8


class Written(ToyBackbone):
    """The toy with the texts of a published vocabulary; its own special tokens are padding and mask."""

    def __init__(self, file: Path):
        super().__init__(vocab=VOCAB, dim=768, max_length=None)
        vocabulary = json.loads(file.read_text())["vocab"][: VOCAB - SPECIAL]
        own = [base64.b64decode(each["token_bytes"]) for each in vocabulary]
        # Ids 1 to … are tokens; the end, the mask and padding are among the rest.
        self._texts = [None, *own, *[None] * (VOCAB - 1 - len(own))]
        self.ends = self.endings = (len(own) + 1,)
        self.forbidden = (0, *range(len(own) + 2, VOCAB - 2), VOCAB - 1)

    def texts(self) -> list[bytes | None]:
        return self._texts

    def render(self, token: int) -> str:
        return (self._texts[token] or b"").decode(errors="replace")


def block(sampler: Any, model: Written) -> float:
    """Seconds of the first block's steps, without the making of tables."""
    engine = Engine(sampler, model, ROWS)
    for i in range(ROWS):
        engine.admit(Prompt(ids=(1 + i, 2, 3), seed=i, index=i))
    began = time.perf_counter()
    for _ in range(STEPS):
        engine.step()
    return time.perf_counter() - began


@click.command()
@click.argument("vocabulary", type=click.Path(exists=True, path_type=Path))
@click.option("--pairs", default=9, show_default=True)
def main(vocabulary: Path, pairs: int) -> None:
    torch.set_num_threads(1)
    model = Written(vocabulary)
    plan = {"length": 256, "block": 32, "tokens_per_step": 32 // STEPS, "early_stop": False}
    for name in ("confidence", "info_gain"):
        for mode in ("exact", "mask"):
            rule = {"name": "json_schema", "schema": SCHEMA, "mode": mode}
            without, with_ = compose(name, plan=plan), compose(name, plan=plan, constraint=rule)
            began = time.perf_counter()
            block(with_, model)
            first = time.perf_counter() - began
            ratios = []
            for _ in range(pairs):
                free = block(without, model)
                ratios.append(block(with_, model) / free)
            low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
            print(
                f"{name} {mode}: {middle:.3f} ({low:.3f} to {high:.3f}) times a step without, {free / STEPS:.3f} s; "
                f"the first block, with the tables, {first:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
