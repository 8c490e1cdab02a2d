"""The command in a process of its own: signals, the terminal, and what is refused before a model is loaded."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from click.testing import CliRunner
from processes import lines_until

from mdmkit.cli import main
from mdmkit.installed import registry
from mdmkit_serve import server as serving_process


class Connection:
    def __init__(self, transport: Any):
        self.transport = transport


SLOW = Path(__file__).with_name("slow_plugin.py")


@contextmanager
def server(*options: str) -> Iterator[tuple[Any, str, list[str]]]:
    """A server of the slow toy: its process, address, and the lines that it prints."""
    command = [sys.executable, "-m", "mdmkit", "serve", "--plugin", str(SLOW), "--model", "slow:0", "--device", "cpu"]
    command += ["--sampler", "confidence", "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        lines, url = lines_until(process, r"Serving at (\S+)/v1")
        yield process, url, lines
    finally:
        process.kill()
        process.wait()


def ask(url: str, length: int, stream: bool) -> str:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0)
    done = client.completions.create(model="slow:0", prompt="abc", max_tokens=length, stream=stream, seed=length)
    return "".join(chunk.choices[0].text for chunk in done) if stream else done.choices[0].text


def wait_for_rows(url: str, rows: int) -> None:
    """Wait until the server has taken on so many rows."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            found = re.findall(r"^mdmkit_rows_(?:waiting|working) (\S+)", answer.read().decode(), re.M)
        if sum(map(float, found)) == rows:
            return
        time.sleep(0.01)
    pytest.fail(f"{found} rows, not {rows}")


def test_sigterm_lets_accepted_requests_finish() -> None:
    with server("--batch", "4") as (process, url, lines), ThreadPoolExecutor(16) as pool:
        sizes = [(60 + 4 * i, i % 2 == 0) for i in range(12)]
        sent = [pool.submit(ask, url, length, stream) for length, stream in sizes]
        wait_for_rows(url, 12)
        process.send_signal(signal.SIGTERM)
        assert [len(each.result(30)) for each in sent] == [length for length, _ in sizes]
        assert process.wait(10) == 0
        with pytest.raises(openai.APIConnectionError):
            ask(url, 3, False)
    assert lines[0].startswith("slow:0 · confidence · 8 masks an answer · 4 rows together")
    assert any(re.match(r"SIGTERM: \d+ rows are finished first; again ends at once.", line) for line in lines)
    answered = [line for line in lines if "POST /v1/completions 200" in line]
    assert len(answered) == 12
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d [\d:]{8} 127.0.0.1 POST /v1/completions 200 \d+\.\d{3} s confidence\n", answered[0]
    )


def test_a_second_signal_ends_at_once() -> None:
    with server("--host", "0.0.0.0") as (process, url, lines), ThreadPoolExecutor(1) as pool:
        assert lines[1].startswith("Whoever reaches this address can use the server: --api-key")
        sent = pool.submit(ask, url, 250, True)
        wait_for_rows(url, 1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(2) == 128 + signal.SIGINT
        assert isinstance(sent.exception(5), Exception)


def test_a_client_that_does_not_read_is_dropped_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that reads slowly is not, and none while rows are at work."""

    class Transport:
        def __init__(self, sizes: list[int]):
            self.sizes, self.aborted, self.asked = sizes, False, 0

        def get_write_buffer_size(self) -> int:
            self.asked += 1
            return self.sizes[min(self.asked, len(self.sizes)) - 1]

        def abort(self) -> None:
            self.aborted = True
            connections.discard(next(each for each in connections if each.transport is self))

    monkeypatch.setattr(serving_process, "UNREAD", 3)
    sleep, working = asyncio.sleep, SimpleNamespace(waiting=0, working=1)
    still, slow, done = Transport([900]), Transport([900, 800, 800, 700, 700, 600, 0]), Transport([0])
    connections = {Connection(each) for each in (still, slow, done)}
    own = SimpleNamespace(
        service=SimpleNamespace(scheduler=working), server_state=SimpleNamespace(connections=connections)
    )

    async def run() -> None:
        monkeypatch.setattr(asyncio, "sleep", lambda seconds: sleep(0))
        task = asyncio.create_task(serving_process.Server._drop_unread(own))  # type: ignore[arg-type]
        while still.asked < 20:
            await sleep(0)
        assert not still.aborted, "a row is at work"
        working.working = 0
        for _ in range(200):
            await sleep(0)
        task.cancel()

    asyncio.run(run())
    assert still.aborted and not slow.aborted and not done.aborted


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--model", "zoo:puzzles", "--sampler", "confidenc"],
            "unknown sampler 'confidenc'. Did you mean 'confidence'?",
        ),
        (
            ["--model", "zoo:puzzles", "--set", "guidance.scale=0.0", "--set", "plan.room=4"],
            "plan.room=4 lets a row grow",
        ),
        (["--model", "zoo:puzzles", "--api-key", ""], "--api-key is empty"),
        (["--model", "zoo:puzzles", "--set", "cache=block"], "cache=block, but backbone"),
        (
            ["--plugin", str(SLOW), "--model", "picture:0"],
            "answers with text, and the rows of picture:0 are files: use mdmkit decode",
        ),
        (["--model", "zoo:puzzles", "--host", "nowhere.invalid"], "--host nowhere.invalid --port 0 cannot be taken"),
    ],
)
def test_what_cannot_be_served_is_refused(options: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_default", None)
    result = CliRunner().invoke(main, ["serve", "--port", "0", *options])
    assert result.exit_code == 2 and said in result.output, result.output


def test_a_port_that_is_taken_is_refused_before_the_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = CliRunner().invoke(main, ["serve", "--port", str(port), "--model", "no/such/model"])
    assert result.exit_code == 2 and f"--port {port} cannot be taken" in result.output
