"""What a change of the loop costs: `decode` of this checkout beside another one's, cell by cell.

python benchmarks/loop.py --beside ../mdmkit-before                # 9 pairs of processes, CPU, one thread
python benchmarks/loop.py --beside ../mdmkit-before --pairs 3 --only dual --json
python benchmarks/loop.py --beside ../mdmkit-before --device cuda

Each pair is two fresh processes, one per checkout. Both wait; they measure every cell in turn, so that a machine that
becomes slower does so for both. A cell's ratio is the median over the pairs. The models are LLaDA and SDAR of random
weights, in a temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROMPT = 32  # tokens
RAGGED = (8, 16, 24, 32, 64, 96, 112, 128)
# A cell is decoded again until so many seconds have passed; the fastest of these counts.
ENOUGH = 1.0


@dataclass(frozen=True)
class Cell:
    """One thing to time: prompts of these lengths, so many at once."""

    name: str
    lengths: tuple[int, ...]
    batch: int
    preset: str = "confidence"
    cache: str = "none"
    block: int | None = 16
    model: str = "llada-8b"


def cells() -> list[Cell]:
    """All of them, in the order of the table."""
    out = [
        Cell(f"llada {cache} {preset} batch {batch}", (32,) * batch, batch, preset, cache)
        for cache in ("none", "dual")
        for preset in ("confidence", "info_gain", "threshold")
        for batch in (1, 8)
    ]
    out += [Cell(f"llada {cache} ragged 8 to 128", RAGGED, 8, cache=cache, block=32) for cache in ("none", "dual")]
    out += [
        Cell(f"sdar block confidence batch {batch}", (32,) * batch, batch, cache="block", block=None, model="sdar-8b")
        for batch in (1, 8)
    ]
    answers = json.loads((ROOT / "tests" / "answer_lengths.json").read_text())["lengths"]
    return [*out, Cell("llada none forty answers batch 8", tuple(answers), 8, block=32)]


def write_models(folder: Path, names: set[str], small: bool) -> None:
    """Checkpoints of four layers and 32,000 tokens; `small` ones are for a test."""
    import random_checkpoint

    for name in names:
        shape = random_checkpoint.shape_of(name, small=True)
        if not small:
            sizes = {"hidden": 512, "inner": 1408, "layers": 4, "heads": 8, "head": 64}
            ids = {"vocab": 32000, "mask": 31990, "end": 31991}
            shape = replace(shape, **sizes, **ids, kv_heads=8 if name == "llada-8b" else 2, positions=2048)
        random_checkpoint.write(name, folder / name, shape)


# -- in a process of one checkout ------------------------------------------------------------------------------------


def measure_all(folder: Path, device: str) -> None:
    """Read names of cells, one a line; write what came of each as JSON, one a line."""
    import torch

    import mdmkit

    torch.set_num_threads(1)
    known, models = {cell.name: cell for cell in cells()}, {}
    answer({"checkout": str(Path(mdmkit.__file__).resolve().parents[1])})
    for line in sys.stdin:
        cell = known[line.strip()]
        try:
            if cell.model not in models:
                models[cell.model] = mdmkit.load(str(folder / cell.model), device=device)
            answer(measure(cell, models[cell.model]))
        except mdmkit.MdmkitError as error:  # this checkout cannot do it
            answer({"error": str(error)})


def measure(cell: Cell, backbone: Any) -> dict[str, Any]:
    """Seconds of the fastest decode, its model calls, and a digest of its tokens."""
    import mdmkit

    plan = {"early_stop": False} | ({} if cell.block is None else {"block": cell.block})
    sampler = mdmkit.compose(cell.preset, cache=cell.cache, plan=plan)
    draw = random.Random(cell.name)
    prompts = [{"prompt_ids": [draw.randrange(5, 200) for _ in range(PROMPT)], "length": n} for n in cell.lengths]
    mdmkit.decode(sampler, backbone, [prompts[0] | {"length": 8}] * cell.batch, batch=cell.batch)  # warm
    best, began = float("inf"), time.perf_counter()
    while best == float("inf") or time.perf_counter() - began < ENOUGH:
        start = time.perf_counter()
        decoded = mdmkit.decode(sampler, backbone, prompts, batch=cell.batch)
        best = min(best, time.perf_counter() - start)
    digest = hashlib.sha256(json.dumps(decoded.tokens).encode()).hexdigest()
    return {"seconds": best, "calls": decoded.calls, "tokens": digest}


def answer(said: dict[str, Any]) -> None:
    print("answer " + json.dumps(said), flush=True)


# -- beside one another ----------------------------------------------------------------------------------------------


class Process:
    """A Python that imports the mdmkit of one checkout, and measures what it is asked for."""

    def __init__(self, checkout: Path, folder: Path, device: str):
        sources = [checkout, *sorted(checkout.glob("plugins/*/src"))]
        paths = os.pathsep.join(str(path.resolve()) for path in sources)
        # A checkout's own environment lists its own plugins; without one it must have those that are installed here.
        own = checkout / ".venv" / "bin" / "python"
        python = str(own.absolute()) if own.exists() else sys.executable
        command = [python, __file__, "--measure", str(folder), "--device", device]
        env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True)
        found = self.read()["checkout"]
        if Path(found) != checkout.resolve():
            raise SystemExit(f"{checkout} was asked for, and python imports mdmkit from {found}.")

    def ask(self, cell: Cell) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(cell.name + "\n")
        self.process.stdin.flush()
        return self.read()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise SystemExit("a process that measures has ended; what it said is above.")

    def end(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@contextlib.contextmanager
def both(beside: Path, folder: Path, device: str) -> Iterator[tuple[Process, Process]]:
    """A process of this checkout, and one of the other."""
    with contextlib.ExitStack() as stack:
        pair = []
        for checkout in (ROOT, beside):
            pair.append(Process(checkout, folder, device))
            stack.callback(pair[-1].end)
        yield pair[0], pair[1]


def compare(chosen: list[Cell], beside: Path, pairs: int, device: str, folder: Path) -> list[dict[str, Any]]:
    """Measure every cell in every pair; one row a cell."""
    found: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {cell.name: [] for cell in chosen}
    for pair in range(pairs):
        with both(beside, folder, device) as (this, other):
            for cell in chosen:
                # Who begins changes, so that neither always runs on the warmer machine.
                answers = {process: process.ask(cell) for process in ((this, other) if pair % 2 else (other, this))}
                found[cell.name].append((answers[this], answers[other]))
        print(f"pair {pair + 1} of {pairs}", file=sys.stderr)
    return [row_of(cell, found[cell.name]) for cell in chosen]


def row_of(cell: Cell, measured: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Medians over the pairs; milliseconds are per token."""
    for this, other in measured:
        if "error" in this or "error" in other:
            return {"cell": cell.name, "error": this.get("error") or f"the other checkout: {other['error']}"}
    tokens = sum(cell.lengths)
    this, other = ([pair[side]["seconds"] for pair in measured] for side in (0, 1))
    return {
        "cell": cell.name,
        "ms": statistics.median(this) / tokens * 1000,
        "ms_other": statistics.median(other) / tokens * 1000,
        "ratio": statistics.median(a / b for a, b in zip(this, other, strict=True)),
        "calls": measured[0][0]["calls"],
        "calls_other": measured[0][1]["calls"],
        "same_tokens": all(a["tokens"] == b["tokens"] for a, b in measured),
        "pairs": len(measured),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="the other checkout's folder")
    parser.add_argument("--pairs", type=int, default=9, help="pairs of processes")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="cells whose names hold it")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--small", action="store_true", help="miniature models, to try the script")
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON list")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        measure_all(options.measure, options.device)
        return
    if options.beside is None or not (options.beside / "mdmkit").is_dir():
        parser.error(f"--beside {options.beside}: it names a folder that holds mdmkit/ and plugins/")
    chosen = [cell for cell in cells() if options.only in cell.name]
    if not chosen or options.pairs < 1:
        known = ", ".join(cell.name for cell in cells())
        parser.error(f"--only {options.only!r}, --pairs {options.pairs}: nothing to measure. Cells: {known}")
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder), {cell.model for cell in chosen}, options.small)
        rows = compare(chosen, options.beside, options.pairs, options.device, Path(folder))
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'cell':<36} {'ms a token':>10} {'other':>9} {'ratio':>6} {'calls':>6} {'other':>6}  same tokens")
    for row in rows:
        if "error" in row:
            print(f"{row['cell']:<36} {row['error']}")
            continue
        times = f"{row['ms']:>10.3f} {row['ms_other']:>9.3f} {row['ratio']:>6.3f}"
        print(f"{row['cell']:<36} {times} {row['calls']:>6} {row['calls_other']:>6}  {row['same_tokens']}")


if __name__ == "__main__":
    main()
