"""How long a page of a long trace takes in a browser, and how large it is.

python benchmarks/trace_page.py                     # 512 tokens in 512 steps, the page of one trace
python benchmarks/trace_page.py --traces 2          # two of them side by side

It needs the package playwright and Debian's chromium (apt-get install chromium).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from mdmkit.watch.page import page
from mdmkit.watch.page.reading import read_trace
from mdmkit.watch.recording import LEVELS

CHROMIUM = "/usr/bin/chromium"


def long_row(width: int, steps: int, seed: int = 0, candidates: int = 8) -> dict[str, Any]:
    """A row as a trace holds it: `width` tokens filled in `steps` steps, every step with candidates compared."""
    rng = random.Random(seed)
    mask, words = 0, [f" word{i}" for i in range(1000)]
    tokens = [rng.randrange(1, 1000) for _ in range(width)]
    turn = rng.sample(range(width), width)
    order = [0] * width
    for n, position in enumerate(turn):
        order[position] = n * steps // width
    noted: list[dict[str, Any]] = []
    for tick in range(steps):
        open_ = [p for p in range(width) if order[p] >= tick]
        written = [[p, tokens[p]] for p in open_ if order[p] == tick]
        others = [[[rng.choice(open_), rng.randrange(1, 1000)]] for _ in range(candidates - 1)]
        letters = "".join(rng.choice(LEVELS) for _ in open_)
        noted.append({"written": written, "open": [open_[0], letters], "alternatives": [written, *others]})
    return {
        "index": seed,
        "seed": seed,
        "prompt_tokens": [mask] * width,
        "tokens": tokens,
        "order": order,
        "confidence": [round(rng.random(), 6) for _ in tokens],
        "entropy": [round(rng.random() * 5, 6) for _ in tokens],
        "uncertainty": 1234.5,
        "nfe": steps * candidates,
        "row_tokens": steps * candidates * width,
        "choices": [0] * steps,
        "values": [[round(rng.random(), 6) for _ in range(candidates)] for _ in range(steps)],
        "pieces": [words[token] for token in tokens],
        "mask_id": mask,
        "entropy_scale": 11.0,
        "names": {str(token): words[token] for token in range(1, 1000)},
        "steps": noted,
    }


def write_trace(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"model": "large", "sampler": {"sampler": "info_gain"}, "rows": rows}))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--steps", type=int, default=512)
    parser.add_argument("--traces", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    from playwright.sync_api import expect, sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        files = [
            write_trace(Path(folder, f"{n}.json"), long_row(options.tokens, options.steps, n))
            for n in range(options.traces)
        ]
        html = Path(folder, "page.html")
        html.write_text(page([(file.name, read_trace(file)) for file in files]))
        print(f"{options.traces} x {options.tokens} tokens x {options.steps} steps")
        print(f"trace {files[0].stat().st_size / 1e6:.2f} MB, page {html.stat().st_size / 1e6:.2f} MB")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            loads, moves = [], []
            for _ in range(options.repeats):
                tab = browser.new_page()
                began = time.perf_counter()
                tab.goto(html.as_uri())
                expect(tab.locator(".cell.written")).to_have_count(options.tokens * min(2, options.traces))
                loads.append(time.perf_counter() - began)
                began = time.perf_counter()
                for step in range(0, options.steps, max(1, options.steps // 10)):
                    tab.locator("#slider").fill(str(step))
                moves.append((time.perf_counter() - began) / 10)
                tab.close()
            print(
                f"load {statistics.median(loads):.2f} s, a move of the slider {statistics.median(moves) * 1e3:.0f} ms"
            )
            browser.close()


if __name__ == "__main__":
    main()
