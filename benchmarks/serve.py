"""What the server costs: beside `decode`, and for a short request beside a long one.

python benchmarks/serve.py                      # 5 pairs, the mid-size random models of loop.py, CPU, one thread
python benchmarks/serve.py --pairs 9 --json
python benchmarks/serve.py --only overhead

Overhead: eight requests at once to the server, whole or streamed, and the same prompts by `mdmkit.decode` in a process
of its own, in turn. Wall is what a client waits. CPU is that of the serving or decoding process, which other
programs on the machine disturb less. Short: a request of 16 tokens, alone, and beside a running one of 600.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import select
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loop import write_models

BATCH, BLOCK, PROMPT = 8, 32, 32
# Tokens of each request of the overhead, of the short request, and of the long one.
SIZES = {False: (128, 16, 600), True: (16, 4, 60)}
CACHES = (("llada-8b", "none"), ("llada-8b", "prefix"), ("llada-8b", "dual"), ("sdar-8b", "block"))
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A running server."""

    process: Any
    port: int

    @property
    def cpu(self) -> float:
        """CPU seconds of the process so far."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICKS

    @property
    def steps(self) -> int:
        return self.count("steps")

    def count(self, name: str) -> int:
        """A counter of /metrics."""
        line = http.client.HTTPConnection("127.0.0.1", self.port)
        line.request("GET", "/metrics")
        return int(float(re.search(rf"^mdmkit_{name}_total (\S+)", line.getresponse().read().decode(), re.M)[1]))

    def send(self, ids: list[int], length: int, stream: bool = False, **own: Any) -> http.client.HTTPConnection:
        """Ask for one row, and do not wait for it; `own` are keys of the object `mdmkit`."""
        body = {"model": "m", "prompt": ids, "max_tokens": length, "seed": 0, "stream": stream}
        line = http.client.HTTPConnection("127.0.0.1", self.port)
        sent = json.dumps(body | {"mdmkit": {"tokens": True, **own}})
        line.request("POST", "/v1/completions", sent, {"content-type": "application/json"})
        return line

    def ask(self, ids: list[int], length: int, stream: bool = False, **own: Any) -> list[int]:
        """Decode one prompt; return its token ids."""
        answer = self.send(ids, length, stream, **own).getresponse()
        if not stream:
            said = json.loads(answer.read())
            assert answer.status == 200, said
            return said["choices"][0]["mdmkit"]["tokens"]
        last = {}
        for each in answer:
            if each.startswith(b"data: {"):
                last = json.loads(each[6:])["choices"][0]
        return last["mdmkit"]["tokens"]


@contextmanager
def serving(model: Path, cache: str, batch: int, *more: str) -> Iterator[Server]:
    """A server while the block runs; `more` are further options."""
    command = [sys.executable, "-m", "mdmkit", "serve", "--model", str(model), "--name", "m", "--device", "cpu"]
    command += ["--sampler", "confidence", "--batch", str(batch), "--port", "0", "--queue", "256", *more]
    block = [] if cache == "block" else [f"plan.block={BLOCK}"]  # that cache is for models with blocks of their own
    for pair in (*block, "plan.early_stop=false", f"cache={cache}"):
        command += ["--set", pair]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield _started(process)
        finally:
            process.terminate()


def _started(process: Any) -> Server:
    """Wait until a server answers."""
    said = ""
    for line in process.stderr:
        said += line
        if found := re.search(r"Serving at http://127.0.0.1:(\d+)", line):
            break
    else:
        sys.exit(said)
    threading.Thread(target=process.stderr.read, daemon=True).start()
    server = Server(process, int(found[1]))
    server.ask([5], 8)
    return server


def prompts(batch: int) -> list[list[int]]:
    draw = random.Random(0)
    return [[draw.randrange(5, 200) for _ in range(PROMPT)] for _ in range(batch)]


def decode_when_told(model: Path, cache: str, batch: int, length: int) -> None:
    """In a process of its own: one decode for each line that is read; its seconds, CPU seconds and tokens as JSON."""
    import torch

    import mdmkit

    torch.set_num_threads(1)
    backbone = mdmkit.load(str(model), device="cpu")
    plan = {"block": BLOCK, "early_stop": False}
    sampler = mdmkit.compose("confidence", cache=cache, plan=plan)
    asked = [{"prompt_ids": ids, "length": length} for ids in prompts(batch)]
    mdmkit.decode(sampler, backbone, [{"prompt_ids": [5], "length": 8}])
    print("ready", flush=True)
    for _ in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        done = mdmkit.decode(sampler, backbone, asked, seed=0)
        took = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "tokens": done.tokens}
        print(json.dumps(took), flush=True)


def overhead(folder: Path, pairs: int, small: bool) -> list[dict[str, Any]]:
    """Time and CPU of the server beside those of `decode`: medians over the pairs."""
    model, cache, length = folder / "llada-8b", "dual", SIZES[small][0]
    command = [sys.executable, __file__, "--worker", str(model), cache, str(BATCH), str(length)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdout.readline()

    def plain() -> dict[str, Any]:
        print(file=worker.stdin, flush=True)
        return json.loads(worker.stdout.readline())

    found: dict[bool, list[tuple[float, float, bool]]] = {False: [], True: []}
    with serving(model, cache, BATCH) as server, ThreadPoolExecutor(BATCH) as pool:

        def served(stream: bool) -> dict[str, Any]:
            began, cpu = time.perf_counter(), server.cpu
            sent = [pool.submit(server.ask, ids, length, stream) for ids in prompts(BATCH)]
            tokens = [each.result() for each in sent]
            return {"seconds": time.perf_counter() - began, "cpu": server.cpu - cpu, "tokens": tokens}

        for stream in (False, True):
            served(stream), plain()  # warm
        for pair in range(pairs):
            for stream in (False, True):
                first, second = (served(stream), plain()) if pair % 2 else (plain(), served(stream))[::-1]
                same = first["tokens"] == second["tokens"]
                found[stream].append((first["seconds"] / second["seconds"], first["cpu"] / second["cpu"], same))
    worker.stdin.close()
    worker.wait()
    return [
        {
            "case": "streamed" if stream else "whole",
            "wall": statistics.median(wall for wall, _, _ in values),
            "cpu": statistics.median(cpu for _, cpu, _ in values),
            "lowest": min(wall for wall, _, _ in values),
            "highest": max(wall for wall, _, _ in values),
            "same_tokens": all(same for _, _, same in values),
            "pairs": pairs,
        }
        for stream, values in found.items()
    ]


def short(folder: Path, pairs: int, small: bool) -> list[dict[str, Any]]:
    """A short request alone, and beside a long one that runs: time, and the steps that the server made meanwhile."""
    _, few, many = SIZES[small]
    first, second = prompts(2)
    out = []
    for name, cache in CACHES:
        alone, beside, steps = [], [], []
        with serving(folder / name, cache, BATCH) as server:
            server.ask(second, few)
            for _ in range(pairs):
                began = time.perf_counter()
                server.ask(second, few)
                alone.append(time.perf_counter() - began)
                before = server.steps
                long = server.send(first, many)
                while server.steps < before + 3:
                    time.sleep(0.002)
                at, began = server.steps, time.perf_counter()
                server.ask(second, few)
                beside.append(time.perf_counter() - began)
                steps.append(server.steps - at)
                assert not select.select([long.sock], [], [], 0)[0], "the long request ended before the short one"
                long.close()  # the server gives it up
        ratio = statistics.median(beside) / statistics.median(alone)
        out.append(
            {
                "case": f"{name} {cache}",
                "alone": statistics.median(alone),
                "beside": statistics.median(beside),
                "ratio": ratio,
                "steps": statistics.median(steps),
                "own_steps": few,
            }
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", choices=("overhead", "short"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)  # for a test
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        model, cache, *numbers = given.worker
        decode_when_told(Path(model), cache, *map(int, numbers))
        return
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_models(folder, {name for name, _ in CACHES}, given.small)
        for name, measure in (("overhead", overhead), ("short", short)):
            if given.only in (None, name):
                rows += measure(folder, given.pairs, given.small)
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(row["case"], *(f"{key} {value:.3f}" for key, value in row.items() if isinstance(value, float)), sep="  ")


if __name__ == "__main__":
    main()
