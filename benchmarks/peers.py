"""How fast mdmkit decodes beside the public loops: the same weights, the same steps, pairs in one process, on a CPU.

python benchmarks/peers.py                                  # 9 pairs a cell; writes docs/results/speed.md and .json
python benchmarks/peers.py --only "V 32,000" dual "batch 1"   # measures these cells again, and keeps the others
python benchmarks/peers.py --quick --output /tmp/speed.md     # a miniature, to try the script

The loops are those of benchmarks/peers/. A loop runs the model object that mdmkit has loaded. In each pair both decode
the same prompts, and who begins changes from pair to pair. On a busy machine use `--clock cpu`, which does not count
the time in which other processes ran.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from peers.model import Model
from peers_cells import CLOCKS, PROMPT, QUICK, SIZES, Cell, cells, machine
from peers_page import page

import mdmkit

ROOT = Path(__file__).resolve().parents[1]


def load(cell: Cell, folder: Path) -> Any:
    """Load the cell's model from a checkpoint with random weights, which is written if there is none yet."""
    place = folder / f"{cell.peer.family} {cell.size.name}"
    if not place.exists():
        cell.size.write(cell.peer.family, place)
    own = {} if cell.peer.block is None else {"block_length": cell.peer.block}
    backbone = mdmkit.load(str(place), device="cpu", dtype="float32", **own)
    # mdmkit never writes these tokens. No loop must want to write them either, or their work would differ.
    with torch.no_grad():
        backbone.network.model.lm_head.weight[[*backbone.forbidden, backbone.mask_id]] = 0
    return backbone


def measure(cell: Cell, backbone: Any, pairs: int, clock: str) -> dict[str, Any]:
    """Decode in pairs; return the cell's row."""
    now, size = CLOCKS[clock], cell.size
    sampler, model = cell.peer.sampler(size), Model(backbone, now)
    seen: list[dict[str, Any]] = []

    def theirs(prompts: list[list[int]], seed: int) -> tuple[float, dict[str, Any]]:
        torch.manual_seed(seed)
        model.seconds, model.rows, began = 0.0, 0, now()
        rows = cell.peer.theirs(model, torch.tensor(prompts), size.length, size.block)
        seconds = now() - began
        tokens = rows[:, PROMPT:].tolist()
        return seconds, {"tokens": tokens, "share": model.seconds / seconds, "rows": model.rows}

    def ours(prompts: list[list[int]], seed: int) -> tuple[float, dict[str, Any]]:
        began = now()
        decoded = mdmkit.decode(sampler, backbone, prompts, seed=seed, batch=cell.batch)
        return now() - began, {"tokens": decoded.tokens, "rows": decoded.nfe["rows"]}

    for pair in range(-1, pairs):  # the first one only warms up
        draw = torch.Generator().manual_seed(pair + 1)
        prompts = torch.randint(5, size.vocab - 20, (cell.batch, PROMPT), generator=draw).tolist()
        order = (theirs, ours) if pair % 2 else (ours, theirs)
        got = {decode: decode(prompts, pair + 1) for decode in order}
        (t, a), (o, b) = got[theirs], got[ours]
        flat = [list(itertools.chain(*each["tokens"])) for each in (a, b)]
        same = sum(x == y for x, y in zip(*flat, strict=True)) / len(flat[0])
        seen.append({"t": t, "o": o, "share": a["share"], "rows": a["rows"], "rows_ours": b["rows"], "same": same})
    return row_of(cell, seen[1:], clock)


def row_of(cell: Cell, seen: list[dict[str, Any]], clock: str) -> dict[str, Any]:
    """Medians over the pairs; a step fills one token of every row of the batch."""
    ratios, steps = [each["t"] / each["o"] for each in seen], cell.size.length

    def middle(key: str, unit: float) -> float:
        return round(statistics.median(each[key] for each in seen) * unit, 4)

    return {
        "cell": cell.name,
        "peer": cell.peer.name,
        "cache": cell.peer.cache,
        "size": cell.size.name,
        "batch": cell.batch,
        "theirs_ms": middle("t", 1000 / steps),
        "ours_ms": middle("o", 1000 / steps),
        "ratio": round(statistics.median(ratios), 4),
        "least": round(min(ratios), 4),
        "most": round(max(ratios), 4),
        "share": middle("share", 1),
        "rows": middle("rows", 1 / steps / cell.batch),
        "rows_ours": middle("rows_ours", 1 / steps / cell.batch),
        "same": None if cell.peer.draws else statistics.mean(each["same"] for each in seen),
        "pairs": len(seen),
        "clock": clock,
        "load": round(os.getloadavg()[0], 2),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="cells whose names hold each text")
    parser.add_argument("--pairs", type=int, help="pairs of each cell; 9, with --quick 2")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="wall time, or this process's CPU time")
    parser.add_argument("--quick", action="store_true", help="miniature models, to try the script")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "speed.md")
    options = parser.parse_args()
    options.pairs = (2 if options.quick else 9) if options.pairs is None else options.pairs
    options.known = cells(QUICK if options.quick else SIZES)
    options.chosen = [cell for cell in options.known if all(text in cell.name for text in options.only)]
    if not options.chosen or options.pairs < 1:
        names = "\n  ".join(cell.name for cell in options.known)
        parser.error(
            f"--only {shlex.join(options.only)}, --pairs {options.pairs}: nothing to measure. Cells:\n  {names}"
        )
    return options


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    place, facts = options.output.with_suffix(".json"), machine()
    place.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {"machine": None}
    # The rows of an earlier run on such a machine, by cell; and the tables of benchmarks/lookahead.py.
    rows = {row["cell"]: row for row in before["rows"]} if before["machine"] == facts else {}
    others = {"lookahead": before["lookahead"]} if "lookahead" in before else {}
    order = [cell.name for cell in options.known]
    with tempfile.TemporaryDirectory() as folder:
        # Sorted by model, so that only one is in memory.
        chosen = sorted(options.chosen, key=lambda cell: str(cell.model))
        for _, group in itertools.groupby(chosen, key=lambda cell: cell.model):
            own = list(group)
            backbone = load(own[0], Path(folder))
            for cell in own:
                rows[cell.name] = measure(cell, backbone, options.pairs, options.clock)
                print(json.dumps(rows[cell.name], ensure_ascii=False), file=sys.stderr, flush=True)
                ordered = [rows[name] for name in order if name in rows]
                missing = [name for name in order if name not in rows]
                data = {"machine": facts, "missing": missing, "rows": ordered} | others
                # After each cell: what was measured stays, whatever happens to the next.
                place.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
                options.output.write_text(page(data), encoding="utf-8")


if __name__ == "__main__":
    main()
