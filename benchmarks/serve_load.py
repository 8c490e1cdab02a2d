"""The server under load: many requests at once, requests that come at random times, and bad clients.

python benchmarks/serve_load.py                       # 200 requests, a mid-size random model, CPU, one thread
python benchmarks/serve_load.py --only bad --minutes 10
python benchmarks/serve_load.py --only once --json

Once: requests of 8 to 128 tokens, all sent at the same time, beside the same requests in batches that start and end
together. Random: the same requests arrive at 0.8 of the rate that such batches can answer. Bad: requests whose answers
are known, beside clients that leave, send no JSON, send too much, are slow, or ask for a part that raises.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from loop import write_models
from serve import BATCH, PROMPT, Server, serving

MODEL, CACHE = "llada-8b", "dual"
LOAD = 0.8
# A part that raises while a row that begins with this token is in the batch.
TRIGGER = 7
PLUGIN = f"""
from dataclasses import dataclass
from mdmkit import Component, hookimpl
@dataclass(frozen=True)
class Raising:
    def __call__(self, step):
        if bool((step.canvas.tokens[:, 0] == {TRIGGER}).any()):
            raise ValueError("an odd row")
        return step.confidence
@hookimpl
def mdmkit_score():
    return [Component("raising", Raising, "raises for some rows")]
"""


def requests(count: int, longest: int) -> list[tuple[list[int], int]]:
    """Prompts and how many tokens each asks for."""
    draw = random.Random(0)
    return [([draw.randrange(10, 200) for _ in range(PROMPT)], draw.randrange(8, longest + 1)) for _ in range(count)]


class Clients:
    """Clients that send requests at their times, and note how long each answer took."""

    def __init__(self, server: Server, asked: list[tuple[list[int], int]], arrivals: list[float]):
        self.server, self.asked, self.arrivals = server, asked, arrivals
        self.took, self.tokens = [0.0] * len(asked), [list[int]()] * len(asked)

    def run(self, static: bool) -> dict[str, Any]:
        """Send all; `static`: in batches that start and end together. Calls of the model, seconds and latencies."""
        calls, self.began = self.server.count("model_calls"), time.perf_counter()
        (self._in_batches if static else self._as_they_come)()
        seconds = time.perf_counter() - self.began
        return {
            "calls": self.server.count("model_calls") - calls,
            "seconds": seconds,
            "p50": quantile(self.took, 0.5),
            "p99": quantile(self.took, 0.99),
            "tokens": self.tokens,
        }

    def _ask(self, index: int) -> None:
        self.tokens[index] = self.server.ask(*self.asked[index])
        self.took[index] = time.perf_counter() - self.began - self.arrivals[index]

    def _as_they_come(self) -> None:
        def client(index: int) -> None:
            time.sleep(max(0.0, self.began + self.arrivals[index] - time.perf_counter()))
            self._ask(index)

        with ThreadPoolExecutor(len(self.asked)) as pool:
            list(pool.map(client, range(len(self.asked))))

    def _in_batches(self) -> None:
        with ThreadPoolExecutor(BATCH) as pool:
            first = 0
            while first < len(self.asked):
                time.sleep(max(0.0, self.began + self.arrivals[first] - time.perf_counter()))
                now, last = time.perf_counter() - self.began, first + 1
                while last < min(first + BATCH, len(self.asked)) and self.arrivals[last] <= now:
                    last += 1
                list(pool.map(self._ask, range(first, last)))
                first = last


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def _compared(case: str, ours: dict[str, Any], static: dict[str, Any]) -> dict[str, Any]:
    ratios = {f"{key}_ratio": ours[key] / static[key] for key in ("calls", "seconds", "p50", "p99")}
    same = ours.pop("tokens") == static.pop("tokens")
    return {"case": case, "same_tokens": same, **ratios, "ours": ours, "static": static}


def at_once(folder: Path, count: int, longest: int) -> Iterator[dict[str, Any]]:
    """All at once, then with random arrivals, each beside batches that start and end together."""
    asked = requests(count, longest)
    nothing = [0.0] * len(asked)
    with serving(folder / MODEL, CACHE, BATCH) as server:
        static = Clients(server, asked, nothing).run(static=True)
        rate = LOAD * len(asked) / static["seconds"]
        yield _compared("once", Clients(server, asked, nothing).run(static=False), static)
        draw, arrivals = random.Random(1), [0.0]
        while len(arrivals) < len(asked):
            arrivals.append(arrivals[-1] + draw.expovariate(rate))
        ours = Clients(server, asked, arrivals).run(static=False)
        yield _compared("random", ours, Clients(server, asked, arrivals).run(static=True))


class Bad:
    """Clients of all kinds, for some time. Every method is one visit of one kind."""

    def __init__(self, server: Server, known: dict[int, tuple[list[int], int, dict[str, Any], list[int]]]):
        self.server, self.known = server, known
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def visit(self, kind: Callable[[random.Random], None], until: float, seed: int) -> None:
        draw = random.Random(seed)
        while time.monotonic() < until:
            try:
                kind(draw)
            except Exception as error:
                self.wrong.append(f"{kind.__name__}: {error!r}")
            self.counts[kind.__name__] += 1

    def good(self, draw: random.Random) -> None:
        ids, length, own, tokens = self.known[draw.randrange(len(self.known))]
        if self.server.ask(ids, length, draw.random() < 0.5, **own) != tokens:
            self.wrong.append("other tokens")

    def leaving(self, draw: random.Random) -> None:
        ids, length, own, _ = self.known[draw.randrange(len(self.known))]
        line = self.server.send(ids, length + 40, draw.random() < 0.5, **own)
        time.sleep(draw.random() / 10)
        line.close()

    def no_json(self, draw: random.Random) -> None:
        self._expect(400, bytes(draw.randrange(32, 127) for _ in range(draw.randrange(1, 2000))))

    def huge(self, draw: random.Random) -> None:
        time.sleep(0.2)
        with suppress(ConnectionError):  # the server does not read to the end
            self._expect(413, b'{"prompt": "' + b"a" * (2 << 20))

    def odd_row(self, draw: random.Random) -> None:
        time.sleep(0.2)
        own = {"tokens": False, "set": {"score": "raising"}}
        answer = self.server.send([TRIGGER, 9], 20, **own).getresponse()
        if answer.status != 500 or b"an odd row" not in answer.read():
            self.wrong.append(f"a raising part: {answer.status}")

    def slow(self, draw: random.Random) -> None:
        """Send a body in drops, and read a stream in drops."""
        body = json.dumps({"model": "m", "prompt": [9, 9], "max_tokens": 30, "stream": True}).encode()
        head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as line:
            line.sendall(head.encode())
            for at in range(0, len(body), 8):
                line.sendall(body[at : at + 8])
                time.sleep(0.05)
            said = b""
            while piece := line.recv(64):
                said += piece
                time.sleep(0.01)
        if b"data: [DONE]" not in said:
            self.wrong.append("a slow stream did not end")

    def _expect(self, status: int, body: bytes) -> None:
        line = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            line.request("POST", "/v1/completions", body, {"content-type": "application/json"})
            answer = line.getresponse()
            if answer.status != status or not json.loads(answer.read())["error"]["message"]:
                self.wrong.append(f"{answer.status} instead of {status}")
        finally:
            line.close()


def bad(folder: Path, minutes: float) -> dict[str, Any]:
    """Memory from the first third of the time on, wrong answers, and what is open at the end."""
    plugin = folder / "raising.py"
    plugin.write_text(PLUGIN)
    options = ("--plugin", str(plugin), "--keep-keys", "1000000", "--max-body", "100000")
    with serving(folder / "sdar-8b", "block", BATCH, *options) as server:
        known, draw = {}, random.Random(0)
        for i, (ids, length) in enumerate(requests(24, 40)):
            own = ({}, {"sampler": "info_gain"}, {"set": {"score": "raising"}})[i % 3]
            prompt = ids[: draw.randrange(1, PROMPT)]
            known[i] = prompt, length, own, server.ask(prompt, length, **own)
        clients, before = Bad(server, known), _open(server)
        kinds = [*[clients.good] * 6, clients.leaving, clients.no_json, clients.huge, clients.odd_row, clients.slow]
        began, until = time.monotonic(), time.monotonic() + 60 * minutes
        threads = [threading.Thread(target=clients.visit, args=(kind, until, i)) for i, kind in enumerate(kinds)]
        for thread in threads:
            thread.start()
        memory = list[tuple[float, float]]()
        while time.monotonic() < until:
            memory.append(((time.monotonic() - began) / 60, _resident(server)))
            time.sleep(0.5)
        for thread in threads:
            thread.join()
        time.sleep(2)
        late = [pair for pair in memory if pair[0] >= minutes / 3]
        return {
            "case": "bad",
            "minutes": minutes,
            "mb_a_minute": statistics.linear_regression(*zip(*late, strict=True)).slope,
            "mb": [round(memory[0][1], 1), round(late[0][1], 1), round(memory[-1][1], 1)],
            "wrong": clients.wrong[:5],
            "wrong_count": len(clients.wrong),
            "visits": dict(clients.counts),
            "descriptors_threads": [before, _open(server)],
        }


def _resident(server: Server) -> float:
    """MB of memory of the server's process."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096 / 1e6


def _open(server: Server) -> tuple[int, int]:
    """Descriptors and threads of the server's process."""
    place = Path(f"/proc/{server.process.pid}")
    return len(list((place / "fd").iterdir())), len(list((place / "task").iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("once", "bad"), help="once: also with random arrivals")
    parser.add_argument("--minutes", type=float, default=1.0, help="of bad clients")
    parser.add_argument("--requests", type=int, default=200, help="how many, at once and at random times")
    parser.add_argument("--longest", type=int, default=128, help="tokens of the longest of them")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--small", action="store_true", help="a miniature model, for which all calls take the same time"
    )
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_models(folder, {MODEL, "sdar-8b"}, given.small)
        if given.only != "bad":
            for row in at_once(folder, given.requests, given.longest):
                rows.append(row)
                print(row, file=sys.stderr)
        if given.only != "once":
            rows.append(bad(folder, given.minutes))
    print(json.dumps(rows, indent=1) if given.json else "\n".join(map(str, rows)))


if __name__ == "__main__":
    main()
