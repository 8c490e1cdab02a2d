"""How near a step on a GPU comes to what can be reached: mdmkit beside a captured loop, same weights, same card.

python benchmarks/steps.py                                    # writes docs/results/steps.md
python benchmarks/steps.py --small --device cpu --output /tmp/steps.md    # a miniature, to try the script

Weights are random, in the shapes of the published models, made on the device. The time of a step is that of a whole
decode, divided by its steps; decodes take turns, and every figure is a median. The loop beside it is in `captured.py`.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from captured import Captured
from lookahead import prefix_read
from random_checkpoint import LOGIT_STD, MODELS, Shape, shape_of

import mdmkit
from mdmkit_text.alternatives import install
from mdmkit_text.backbone import TextBackbone
from mdmkit_text.families import build_config, family_of
from mdmkit_text.graphs import CudaRecorder, Graphs

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Cell:
    """A model, a cache, and how many rows."""

    model: str
    cache: str
    block: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.model}, {self.cache}, block {self.block}, batch {self.batch}"


CELLS = [Cell("llada-8b", "dual", 32, batch) for batch in (1, 8, 32)]
CELLS += [Cell("sdar-8b", "block", 4, batch) for batch in (1, 32, 128)]
# Columns of a prefix that eight alternatives read.
PREFIX = 4096
# column -> (preset, parts, by graphs)
WAYS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "confidence": ("confidence", {}, False),
    "by graphs": ("confidence", {}, True),
    "info_gain": ("info_gain", {"select": {"candidates": 8, "bypass": None}}, False),
    "info_gain by graphs": ("info_gain", {"select": {"candidates": 8, "bypass": None}}, True),
}


@torch.inference_mode()
def in_memory(name: str, shape: Shape, block: int, device: torch.device, dtype: torch.dtype) -> TextBackbone:
    """A backbone with random weights, made on the device."""
    config = MODELS[name][0](shape)[0]
    family = family_of(config)
    native, settings = build_config(family, config)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), transformers.initialization.no_init_weights():
            model = native(settings).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
    draw = torch.Generator(device).manual_seed(0)
    for key, weight in model.named_parameters():
        if "norm" in key:
            weight.fill_(1)
        elif key.endswith("bias"):
            weight.zero_()
        else:
            deviation = 1.0 if "embed" in key else (LOGIT_STD if "lm_head" in key else 1.0) * weight.shape[1] ** -0.5
            weight.normal_(0, deviation, generator=draw)
    install(model)
    own = {"block_length": block} if family.blocks else {}
    return TextBackbone.wrap(model, mask_id=shape.mask, family=family.name, **own)


class Beside:
    """The ways of one cell, which take turns."""

    def __init__(self, cell: Cell, backbone: TextBackbone, shape: Shape, prompt: int, length: int):
        self.cell, self.backbone, self.device = cell, backbone, backbone.device
        self.steps = length
        draw = torch.Generator().manual_seed(1)
        high = min(shape.mask, shape.end)
        self.prompts = torch.randint(5, high, (cell.batch, prompt), generator=draw)
        wide = "row" if cell.cache == "dual" else "block"
        self.captured = Captured(backbone.network.model, cell.batch, prompt, length, cell.block, wide, shape.mask)
        self.given = [{"prompt_ids": ids, "length": length} for ids in self.prompts.tolist()]

    def decoding(self, way: str) -> Callable[[], Any]:
        preset, parts, graphs = WAYS[way]
        plan = {"block": self.cell.block, "early_stop": False}
        sampler = mdmkit.compose(preset, cache=self.cell.cache, plan=plan, **parts)
        recorder = Graphs(CudaRecorder(self.device)) if graphs else None

        def decode() -> mdmkit.Decoded:
            self.backbone.network.graphs = recorder
            try:
                return mdmkit.decode(sampler, self.backbone, self.given, batch=self.cell.batch)
            finally:
                self.backbone.network.graphs = None

        return decode

    @torch.inference_mode()
    def by_capture(self) -> torch.Tensor:
        with self.captured:
            return self.captured.decode(self.prompts.to(self.device))

    def row(self, ways: list[str], pairs: int) -> dict[str, float]:
        """Milliseconds a step of each way, syncs a step, and the states that a step of Info-Gain looks at."""
        runs: dict[str, Callable[[], Any]] = {"captured": self.by_capture} | {way: self.decoding(way) for way in ways}
        seen: dict[str, list[float]] = {name: [] for name in runs}
        found: dict[str, Any] = {}
        for pair in range(-2, pairs):  # the first two record graphs, choose kernels and reserve memory
            for name in [*runs][:: 1 if pair % 2 else -1]:
                began = now(self.device)
                found[name] = runs[name]()
                seen[name].append(now(self.device) - began)
        if self.cell.cache == "dual":
            same = found["captured"].tolist() == found[ways[0]].tokens
            say(f"{self.cell.name}: the captured loop writes {'the same' if same else 'other'} tokens")
        row = {name: 1000 * statistics.median(times[2:]) / self.steps for name, times in seen.items()}
        if "info_gain" in found:
            row["states a step"] = found["info_gain"].nfe["rows"] / self.steps / self.cell.batch
        if self.device.type == "cuda":
            row["syncs"] = _syncs(runs[ways[0]]) / self.steps
        return row


def now(device: torch.device) -> float:
    """Seconds, when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def alternatives(backbone: TextBackbone, cell: Cell, pairs: int, prefix: int) -> str:
    """The row of the second table."""
    cache = cell.cache if cell.cache == "block" else "prefix"
    found = prefix_read(backbone, cache, cell.block, prefix, pairs, partial(now, backbone.device))
    say(f"{cell.model}, alternatives over {prefix} columns: {found}")
    cells = [
        f"{found[f'{name}_{way}']:.2f}" for name in ("attention", "forward") for way in ("copies", "shared", "ratio")
    ]
    return f"| {cell.model}, {cache} | {' | '.join(cells)} |"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _syncs(run: Callable[[], Any]) -> int:
    """How often the host waits for the GPU."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in caught)


def page(
    rows: list[tuple[str, dict[str, float]]], prefixes: list[str], ways: list[str], options: argparse.Namespace
) -> str:
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    lines = [
        "# A step on a GPU",
        "",
        f"{device}; {options.dtype}; torch {torch.__version__}, transformers {transformers.__version__}, Python "
        f"{platform.python_version()}; {datetime.now(UTC):%Y-%m-%d}. Made by",
        "",
        f"```text\n{shlex.join(['python', 'benchmarks/steps.py', *sys.argv[1:]])}\n```",
        "",
        f"Milliseconds a step, medians of {options.pairs} decodes that take turns: prompts of {options.prompt} tokens, "
        f"{options.length} to fill, one a step. *captured* is the loop of `benchmarks/captured.py`, which can do "
        "nothing else. In brackets: the time divided by the captured loop's. Info-Gain has N = 8 and no bypass; "
        "*states* are those that its step looks at, for each row.",
        "",
        f"| cell | captured | {' | '.join(ways)} | states | syncs a step |",
        f"|{'---|' * (len(ways) + 4)}",
    ]
    for name, row in rows:
        least = row["captured"]
        cells = [f"{row[way]:.2f} ({row[way] / least:.2f})" for way in ways]
        more = [f"{row[key]:.2f}" if key in row else "" for key in ("states a step", "syncs")]
        lines.append(f"| {' | '.join([name, f'{least:.2f}', *cells, *more])} |")
    lines += [
        "",
        f"Eight alternatives behind {options.prefix} columns of one row, batch 1: milliseconds of a layer's attention, "
        "and of a forward, if each alternative gets a copy of the keys, and if all read them where they are.",
        "",
        "| model, cache | attention, copies | shared | ratio | forward, copies | shared | ratio |",
        f"|{'---|' * 7}",
        *prefixes,
    ]
    return "\n".join([*lines, ""])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="cells whose names hold this text")
    parser.add_argument("--ways", default=",".join(WAYS), help="columns of the table, with commas between them")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument(
        "--prefix", type=int, default=PREFIX, help="columns that alternatives read, in the second table"
    )
    parser.add_argument("--small", action="store_true", help="miniature models, to try this script")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "steps.md")
    options = parser.parse_args()
    options.cells = [cell for cell in CELLS if options.only in cell.name]
    options.ways = options.ways.split(",")
    if not options.cells or not {*options.ways} <= {*WAYS} or options.pairs < 1:
        parser.error(f"nothing to measure. Cells: {'; '.join(c.name for c in CELLS)}. Ways: {', '.join(WAYS)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here: --small --device cpu tries the script")
    if options.device == "cpu":
        options.ways = [way for way in options.ways if not WAYS[way][2]]
    return options


def main() -> None:
    options = arguments()
    rows: list[tuple[str, dict[str, float]]] = []
    prefixes: list[str] = []
    backbone, made = None, ""
    for cell in options.cells:
        shape = shape_of(cell.model, small=options.small)
        if made != cell.model:
            backbone, made = None, cell.model
            device = torch.device(options.device)
            backbone = in_memory(cell.model, shape, cell.block, device, getattr(torch, options.dtype))
            prefixes.append(alternatives(backbone, cell, options.pairs, options.prefix))
        assert backbone is not None
        row = Beside(cell, backbone, shape, options.prompt, options.length).row(options.ways, options.pairs)
        rows.append((cell.name, row))
        say(f"{cell.name}: { ({name: round(value, 3) for name, value in row.items()}) }")
        # After each cell: what was measured stays, whatever happens to the next.
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(page(rows, prefixes, options.ways, options), encoding="utf-8")


if __name__ == "__main__":
    main()
