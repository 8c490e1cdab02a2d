"""A server in a thread of this process, on a free port of the loopback, and the official client for it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

import mdmkit
import mdmkit_zoo
from mdmkit_serve.app import make_app
from mdmkit_serve.metrics import Metrics
from mdmkit_serve.samplers import Samplers
from mdmkit_serve.scheduler import Limits, Scheduler
from mdmkit_serve.service import Service

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


@dataclass
class Live:
    """A running server."""

    service: Service
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

    def complete(self, **body: Any) -> tuple[int, Any]:
        status, said, _ = self.ask("POST", "/v1/completions", {"model": "puzzles", **body})
        return status, said

    def until(self, true: Callable[[], Any], seconds: float = 10.0) -> None:
        """Wait until something is true."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not come true"
            time.sleep(0.005)


@contextmanager
def serving(backbone: Any, preset: str = "confidence", length: int = 8, key: str | None = None, **limits: Any) -> Any:
    """Serve a model while the block runs."""
    notes: list[str] = []
    metrics = Metrics(notes.append)
    scheduler = Scheduler(backbone, Limits(**limits), metrics)
    service = Service("puzzles", backbone, Samplers(preset, None, (), length), scheduler, metrics, key)
    live = Live(service, notes=notes)
    config = uvicorn.Config(make_app(service, live.log.append), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    scheduler.start()
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    live.until(lambda: server.started)
    live.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield live
    finally:
        server.should_exit = True
        scheduler.close()
        thread.join(10)
        scheduler.join(10)


@pytest.fixture(scope="module")
def live(puzzles: Any) -> Iterator[Live]:
    with serving(puzzles) as one:
        yield one
