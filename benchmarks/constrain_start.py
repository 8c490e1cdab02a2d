"""What the first and the second start with a rule take: automaton and tables are made, then read from disk.

    python benchmarks/constrain_start.py mistral_common/data/tekken_240718.json

The rule is a JSON schema of 20 fields, the vocabulary one of 131,072 tokens, as in constrain_step.py. Each start is a
process of its own with one thread, and is measured after its imports. Prints the medians of five of each, and the
bytes on disk.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch
from constrain_step import SCHEMA, Written

from mdmkit import compose

STARTS = 5


def start(file: Path) -> dict[str, float]:
    """Seconds of the rule's automaton, and of the tables for the model."""
    torch.set_num_threads(1)
    model, rule = Written(file), {"name": "json_schema", "schema": SCHEMA}
    never = torch.zeros(model.vocab, dtype=torch.bool)
    never[[*model.forbidden, model.mask_id]] = True
    compose("confidence", constraint={"name": "choices", "of": ["a"]})  # the imports
    began = time.perf_counter()
    constraint: Any = compose("confidence", constraint=rule).constraint
    composed = time.perf_counter()
    constraint.prepare(model, never)
    return {"automaton": composed - began, "tables": time.perf_counter() - composed}


@click.command()
@click.argument("vocabulary", type=click.Path(exists=True, path_type=Path))
@click.option("--once", is_flag=True, hidden=True)
def main(vocabulary: Path, once: bool) -> None:
    if once:
        print(json.dumps(start(vocabulary)))
        return
    found: dict[str, list[dict[str, float]]] = {"first": [], "second": []}
    command = [sys.executable, __file__, str(vocabulary), "--once"]
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder:
            env = {**os.environ, "MDMKIT_CONSTRAIN_CACHE": folder}
            for starts in found.values():
                done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
                starts.append(json.loads(done.stdout))
            size = sum(file.stat().st_size for file in Path(folder).iterdir())
    for name, starts in found.items():
        parts = {part: statistics.median(each[part] for each in starts) for part in starts[0]}
        print(f"{name} start: " + ", ".join(f"{part} {seconds:.2f} s" for part, seconds in parts.items()))
    print(f"on disk: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
