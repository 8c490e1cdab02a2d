"""A server in a thread of this process, on a free port of the loopback, and the official client for it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

import mdmkit
import mdmkit_zoo
from mdmkit.testing import ToyBackbone
from mdmkit_serve.app import make_app
from mdmkit_serve.crew import Limits
from mdmkit_serve.metrics import Metrics
from mdmkit_serve.samplers import Samplers
from mdmkit_serve.scheduler import Scheduler
from mdmkit_serve.service import Service

POOL = ThreadPoolExecutor(80)
ZOO = Path(mdmkit_zoo.__file__).parent / "models" / "puzzles"
# A conversation is its contents, one after another.
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture(scope="session")
def puzzles(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The model `zoo:puzzles`, with a chat template."""
    folder = tmp_path_factory.mktemp("puzzles")
    for file in ZOO.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return mdmkit.load(str(folder), device="cpu")


class Gated(ToyBackbone):
    """The toy, whose forwards take some time, can be held, and can fail.

    Attributes:
        sizes: rows of each forward.
        fails: is called with the tokens of each forward, and may raise.
    """

    def __init__(self, seconds: float = 0.0, **options: Any):
        super().__init__(**options)
        self.seconds, self.sizes, self.gate = seconds, list[int](), threading.Event()
        self.fails: Callable[[Any], None] = lambda tokens: None
        self.gate.set()

    def forward(self, tokens: Any, *given: Any, **more: Any) -> Any:
        self.gate.wait()
        time.sleep(self.seconds)
        self.sizes.append(len(tokens))
        self.fails(tokens)
        return super().forward(tokens, *given, **more)


@pytest.fixture
def gated() -> Gated:
    return Gated()


@dataclass
class Live:
    """A running server."""

    service: Service
    app: Any = None
    port: int = 0
    notes: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **more: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", **{"api_key": "-", "max_retries": 0} | more)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Send a request as it is; return status, JSON or text, and headers."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if sent is not None:
            named.setdefault("content-type", "application/json")
        line.request(method, path, sent, named)
        answer = line.getresponse()
        text = answer.read().decode()
        line.close()
        said = json.loads(text) if answer.getheader("content-type", "").startswith("application/json") else text
        return answer.status, said, dict(answer.getheaders())

    def open(self, body: bytes, *, length: int | None = None) -> socket.socket:
        """Send a completion through a connection of its own, which the test reads and closes."""
        line = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        line.sendall(f"{head}content-length: {length or len(body)}\r\n\r\n".encode() + body)
        return line

    def complete(self, **body: Any) -> tuple[int, Any]:
        status, said, _ = self.ask("POST", "/v1/completions", {"model": "puzzles", **body})
        return status, said

    def start(self, **body: Any) -> Future[tuple[int, Any]]:
        """Send a completion from a thread of its own."""
        return POOL.submit(self.complete, **body)

    def until(self, true: Callable[[], Any], seconds: float = 10.0) -> None:
        """Wait until something is true."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not come true"
            time.sleep(0.005)


@contextmanager
def serving(backbone: Any, preset: str = "confidence", length: int = 8, own: Any = None, **limits: Any) -> Any:
    """Serve a model while the block runs; `own` has arguments of the service."""
    notes: list[str] = []
    metrics = Metrics(notes.append)
    scheduler = Scheduler(backbone, Limits(**limits), metrics)
    service = Service("puzzles", backbone, Samplers(preset, None, (), length), scheduler, metrics, **(own or {}))
    live = Live(service, notes=notes)
    live.app = make_app(service, live.log.append)
    config = uvicorn.Config(live.app, port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    scheduler.start()
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    live.until(lambda: server.started)
    live.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield live
    finally:
        server.should_exit = server.force_exit = True
        scheduler.close()
        scheduler.join(10)


@pytest.fixture(scope="session")
def serve() -> Any:
    return serving


@pytest.fixture(scope="module")
def live(puzzles: Any) -> Iterator[Live]:
    with serving(puzzles) as one:
        yield one
