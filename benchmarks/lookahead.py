"""What a lookahead costs: Info-Gain beside greedy decoding, and alternatives that read one prefix beside copies of it.

python benchmarks/lookahead.py                                # writes its part of docs/results/speed.md and .json
python benchmarks/lookahead.py --pairs 3 --only "block, of 4"
python benchmarks/lookahead.py --quick --output /tmp/speed.md # a miniature, to try the script

On a CPU, one thread. Info-Gain has N = 8 and no bypass. Its wall time a step is divided by that of greedy decoding. The
least that this can be is (trunk and head of its A alternatives a step) / (trunk and head of one row), head at open
positions only. So the forwards of both decodes are repeated alone, and the figure is one ratio divided by the other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peers_cells import CLOCKS, PROMPT, QUICK, SIZES, Size, machine
from peers_page import page

import mdmkit
from mdmkit.loop.calls import Call
from mdmkit.model.cache import CACHES, View
from mdmkit_text.alternatives import FEWEST_KEYS, attention

ROOT = Path(__file__).resolve().parents[1]
PREFIXES, ALTERNATIVES = (96, 512, 2048, 4096), 8


@dataclass(frozen=True)
class Cell:
    """One row of the tables."""

    cache: str
    block: int
    family: str = "llada-8b"

    @property
    def name(self) -> str:
        return f"{self.cache}, of {self.block}"

    def load(self, size: Size, folder: Path) -> Any:
        """Load the model, with random weights."""
        place = folder / self.family
        if not place.exists():
            size.write(self.family, place)
        own = {} if self.family == "llada-8b" else {"block_length": self.block}
        return mdmkit.load(str(place), device="cpu", dtype="float32", **own)


CELLS = (Cell("none", 32), Cell("dual", 32), Cell("block", 16, "sdar-8b"), Cell("block", 4, "sdar-8b"))


class Steps:
    """One kind of decoding: its time, and that of its forwards alone."""

    def __init__(self, cell: Cell, size: Size, backbone: Any, clock: str, preset: str, **parts: Any):
        plan = {"length": size.length, "early_stop": False} | ({"block": cell.block} if cell.family[0] == "l" else {})
        self._sampler = mdmkit.compose(preset, cache=cell.cache, plan=plan, **parts)
        self._backbone, self._block, self._tick = backbone, cell.block, CLOCKS[clock]
        self._forwards: list[tuple[Callable[[], Any], Any]] = []

    def decode(self, prompt: list[int]) -> tuple[float, int, float]:
        """Seconds of a decode, its calls, and the states in them. It remembers each forward, and how many positions of
        the block are open in its states."""
        inner, backbone = self._backbone.forward, self._backbone
        width = backbone.network.model.config.hidden_size
        self._forwards.clear()

        def forward(tokens: torch.Tensor, *given: Any, positions: torch.Tensor, **more: Any) -> Any:
            open_ = tokens == backbone.mask_id
            block = torch.where(open_, (positions - PROMPT) // self._block, 1 << 30)
            places = int((open_ & (block == block.amin(1, keepdim=True))).sum())
            repeat = partial(inner, tokens, *given, positions=positions, **more)
            self._forwards.append((repeat, torch.ones(1, places, width)))
            return repeat()

        backbone.forward = forward
        began = self._tick()
        decoded = mdmkit.decode(self._sampler, backbone, [prompt], seed=0)
        seconds = self._tick() - began
        del backbone.forward
        return seconds, decoded.calls, decoded.nfe["rows"]

    @torch.inference_mode()
    def alone(self) -> float:
        """Seconds of trunk and head of all states that the recorded decode has forwarded."""
        began = self._tick()
        for forward, hidden in self._forwards:
            forward()
            self._backbone.project(hidden)
        return self._tick() - began


def against_greedy(cell: Cell, size: Size, folder: Path, pairs: int, clock: str) -> dict[str, Any]:
    """The row of the first table."""
    backbone = cell.load(size, folder)
    ahead = Steps(cell, size, backbone, clock, "info_gain", select={"candidates": 8, "bypass": None})
    greedy = Steps(cell, size, backbone, clock, "confidence")
    seen: list[dict[str, float]] = []
    for pair in range(-1, pairs):  # the first one only warms up
        draw = torch.Generator().manual_seed(pair + 1)
        prompt = torch.randint(5, size.vocab - 20, (PROMPT,), generator=draw).tolist()
        now: dict[str, float] = {}
        for name, steps in (("ahead", ahead), ("greedy", greedy))[:: 1 if pair % 2 else -1]:
            now[f"{name}_s"], calls, rows = steps.decode(prompt)
            now[f"{name}_alone"], now[f"{name}_rows"], now["calls"] = steps.alone(), rows / calls, calls
        now["wall"], now["least"] = now["ahead_s"] / now["greedy_s"], now["ahead_alone"] / now["greedy_alone"]
        now["ratio"] = now["wall"] / now["least"]
        seen.append(now)
    middle = {key: statistics.median(each[key] for each in seen[1:]) for key in seen[0]}
    ratios = [each["ratio"] for each in seen[1:]]
    return {
        "cell": cell.name,
        "alternatives": round(middle["ahead_rows"], 2),
        "ahead_ms": round(middle["ahead_s"] / middle["calls"] * 1000, 3),
        "greedy_ms": round(middle["greedy_s"] / middle["calls"] * 1000, 3),
        "wall": round(middle["wall"], 3),
        "least": round(middle["least"], 3),
        "ratio": round(middle["ratio"], 3),
        "from": round(min(ratios), 3),
        "to": round(max(ratios), 3),
        "pairs": len(ratios),
    } | when(clock)


def over_prefix(cell: Cell, size: Size, folder: Path, prefix: int, pairs: int, clock: str) -> dict[str, Any]:
    """The row of the second table: alternatives that read one prefix, and alternatives that get copies of it."""
    backbone = cell.load(size, folder)
    found = prefix_read(backbone, cell.cache, cell.block, prefix, pairs, CLOCKS[clock])
    return {"cell": cell.name, "prefix": prefix, "pairs": pairs} | found | when(clock)


def prefix_read(
    backbone: Any, cache: str, block: int, prefix: int, pairs: int, tick: Callable[[], float]
) -> dict[str, float]:
    """Milliseconds of one layer's attention and of a whole forward, by copies and shared, and the ratios' medians.

    Args:
        backbone: on any device.
        tick: a clock in seconds, which on a GPU waits for it.
    """
    network, policy, device = backbone.network, CACHES[cache](), backbone.device
    length, draw = prefix + block, torch.Generator().manual_seed(0)
    low = prefix // 2 if cache == "dual" else prefix
    tokens = torch.randint(5, backbone.vocab - 20, (ALTERNATIVES, length), generator=draw).to(device)
    store = backbone.new_store()

    def view_of(reach: Any, count: int) -> tuple[Call, View]:
        call, slots = Call.over([reach] * count, length, device), torch.zeros(count, dtype=torch.long, device=device)
        columns = call.start, call.inside, call.seen, call.readable, call.keep, call.span, call.reads, call.keeps
        beside = 0 if count == 1 else None
        return call, View(store, slots, 1, length, *columns, beside, call.starts, (0,) * count)

    def forward(call: Call, view: View) -> None:
        network.forward(call.take(tokens[: len(view.slots)]), call.inside, call.columns, view)

    config, layer = network.model.config, network.model.base_model.layers[0].self_attn
    heads = config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads
    shape, dtype = (ALTERNATIVES, block), network.model.dtype
    states = [torch.randn(*shape, n, layer.head_dim, generator=draw).to(device, dtype).transpose(1, 2) for n in heads]

    def attend(call: Call, view: View) -> None:
        alternatives = network.alternatives_of(view)
        frozen = network.cache_of(view, 0, alternatives)[network.cache_name]
        keys = frozen.update(*states[1:], 0)
        attention(layer, states[0], *keys, None, scaling=layer.scaling, is_causal=False, alternatives=alternatives)

    row: dict[str, float] = {}
    usual = network.shares_from
    with torch.inference_mode():
        forward(*view_of(policy.enter(low, low + block, length, 0), 1))
        step = view_of(policy.step(low, low + block, length), ALTERNATIVES)
        for name, run in (("attention", attend), ("forward", forward)):
            seen: list[dict[str, float]] = []
            for pair in range(-1, pairs):  # the first one only warms up
                now: dict[str, float] = {}
                for way, network.shares_from in (("copies", None), ("shared", 0))[:: 1 if pair % 2 else -1]:
                    began = tick()
                    run(*step)
                    now[way] = (tick() - began) * 1000
                seen.append(now | {"ratio": now["copies"] / now["shared"]})
            row |= {f"{name}_{key}": round(statistics.median(each[key] for each in seen[1:]), 3) for key in seen[0]}
    network.shares_from = usual
    return row


def when(clock: str) -> dict[str, Any]:
    return {"clock": clock, "load": round(os.getloadavg()[0], 2), "date": f"{datetime.now(UTC):%Y-%m-%d}"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="caches whose names hold this text")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="wall time, or this process's CPU time")
    parser.add_argument("--quick", action="store_true", help="a miniature model, to try the script")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "speed.md")
    options = parser.parse_args()
    options.cells = [cell for cell in CELLS if options.only in cell.name]
    if not options.cells or options.pairs < 1:
        parser.error(f"nothing to measure. Caches: {'; '.join(cell.name for cell in CELLS)}")
    return options


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    size, prefixes = (QUICK[0], (8, 32)) if options.quick else (SIZES[1], PREFIXES)
    place, order = options.output.with_suffix(".json"), [cell.name for cell in CELLS]
    data = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {"rows": [], "missing": []}
    facts, known = machine(), data.get("lookahead", {})
    known = known if known.get("machine") == facts else {}
    greedy = {row["cell"]: row for row in known.get("greedy", ())}
    prefix = {(row["cell"], row["prefix"]): row for row in known.get("prefix", ())}
    data.setdefault("machine", facts)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for cell in options.cells:
            greedy[cell.name] = against_greedy(cell, size, Path(folder), options.pairs, options.clock)
            print(json.dumps(greedy[cell.name]), file=sys.stderr, flush=True)
            for columns in prefixes if cell.cache != "none" else ():
                row = over_prefix(cell, size, Path(folder), columns, options.pairs, options.clock)
                prefix[cell.name, columns] = row
                print(json.dumps(row), file=sys.stderr, flush=True)
            data["lookahead"] = {
                "machine": facts,
                "size": size.name,
                "length": size.length,
                "fewest": FEWEST_KEYS,
                "greedy": sorted(greedy.values(), key=lambda row: order.index(row["cell"])),
                "prefix": sorted(prefix.values(), key=lambda row: (order.index(row["cell"]), row["prefix"])),
            }
            # After each cell: what was measured stays, whatever happens to the next.
            place.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            options.output.write_text(page(data), encoding="utf-8")


if __name__ == "__main__":
    main()
