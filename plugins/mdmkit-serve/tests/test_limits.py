"""What the server takes on: the queue, time-outs, clients that leave, keys, hosts, and the size and pace of bodies."""

from __future__ import annotations

import socket
from typing import Any

import openai
import pytest

from mdmkit_serve import bodies


def test_a_full_queue_is_a_429_that_says_when_to_come_back(serve: Any, gated: Any) -> None:
    gated.gate.clear()
    with serve(gated, slots=1, queue=2) as live:
        sent = [live.start(prompt="a", max_tokens=2) for _ in range(3)]
        live.until(lambda: live.service.scheduler.waiting + live.service.scheduler.working == 3)
        more = [live.ask("POST", "/v1/completions", {"model": "puzzles", "prompt": "a", "n": 2}) for _ in range(2)]
        for status, answer, headers in more:
            assert status == 429 and 1 <= int(headers["retry-after"]) <= 60
            assert "rows wait already" in answer["error"]["message"]
            assert answer["error"]["type"] == "rate_limit_error"
        with pytest.raises(openai.RateLimitError):
            live.client().completions.create(model="puzzles", prompt="a", n=3)
        status, answer = live.complete(prompt="a", n=4)
        assert status == 400 and "4 choices are more than this server takes on: 3" in answer["error"]["message"]
        gated.gate.set()
        assert [each.result(10)[0] for each in sent] == [200] * 3


def test_a_request_that_takes_too_long_is_a_504_and_frees_its_slot(serve: Any, gated: Any) -> None:
    gated.seconds = 0.01
    with serve(gated, slots=1, timeout=0.3) as live:
        late = live.start(prompt="a", max_tokens=200)
        behind = live.start(prompt="a", max_tokens=200)
        for each in (late, behind):
            status, answer = each.result(10)
            assert (status, answer["error"]["code"]) == (504, "timeout")
            assert "ran out of time after 0.3 seconds" in answer["error"]["message"]
        gated.seconds = 0.0
        assert live.complete(prompt="a", max_tokens=3)[0] == 200
        chunks = live.client().completions.create(model="puzzles", prompt="a", max_tokens=200, stream=True)
        gated.seconds = 0.01
        with pytest.raises(openai.APIError, match="ran out of time"):
            list(chunks)
        assert live.service.scheduler.working == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slot(serve: Any, gated: Any, stream: bool) -> None:
    gated.seconds = 0.01
    with serve(gated, slots=1) as live:
        line = socket.create_connection(("127.0.0.1", live.port))
        body = b'{"model": "puzzles", "prompt": "a", "max_tokens": 200, "stream": %s}' % str(stream).lower().encode()
        head = (
            f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        )
        line.sendall(head.encode() + b"\r\n\r\n" + body)
        live.until(lambda: len(gated.sizes) > 3)
        line.close()
        live.until(lambda: live.service.scheduler.working == 0)
        assert live.complete(prompt="a", max_tokens=2)[0] == 200
        assert len(gated.sizes) < 100
        live.until(lambda: len(live.log) == 2)
    assert live.service.metrics.rows.labels("given up")._value.get() == 1
    assert not live.notes


def test_a_client_that_leaves_while_its_row_waits_is_forgotten(serve: Any, gated: Any) -> None:
    gated.seconds = 0.01
    with serve(gated, slots=1, queue=3) as live:
        first = live.start(prompt="a", max_tokens=100)
        client = live.client(timeout=0.2)
        for _ in range(5):  # more than the queue holds
            with pytest.raises(openai.APITimeoutError):
                client.completions.create(model="puzzles", prompt="a", max_tokens=5)
        live.until(lambda: live.service.scheduler.waiting == 0)
        assert first.result(10)[0] == 200


def test_a_stream_that_nobody_reads_does_not_hold_up_the_others(serve: Any, gated: Any) -> None:
    with serve(gated, slots=2) as live:
        body = b'{"model": "puzzles", "prompt": "a", "max_tokens": 200, "stream": true, "mdmkit": {"draft": true}}'
        line = live.open(body)
        assert live.complete(prompt="ab", max_tokens=20)[0] == 200
        live.until(lambda: live.service.scheduler.working == 0)
        line.close()


def test_a_key_is_asked_for(serve: Any, gated: Any) -> None:
    with serve(gated, own={"key": "sesame"}) as live:
        for headers in ({}, {"authorization": "Bearer sesam"}, {"authorization": "Basic sesame"}):
            for method, path in (("GET", "/v1/models"), ("POST", "/v1/completions"), ("GET", "/metrics")):
                status, answer, _ = live.ask(method, path, None, **headers)
                assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert live.ask("GET", "/health")[:2] == (200, {"status": "ok"})
        assert live.client(api_key="sesame").models.list().data
        with pytest.raises(openai.AuthenticationError, match="Authorization: Bearer KEY"):
            live.client(api_key="other").models.list()


def test_a_page_of_another_site_cannot_use_the_server(serve: Any, gated: Any) -> None:
    with serve(gated, own={"hosts": frozenset({"127.0.0.1", "localhost"})}) as live:
        assert live.ask("GET", "/v1/models")[0] == 200
        assert live.ask("GET", "/v1/models", host="LocalHost:80")[0] == 200
        status, answer, _ = live.ask("GET", "/v1/models", host="evil.example:80")
        assert status == 403 and "answers to 127.0.0.1, localhost only" in answer["error"]["message"]
        status, answer, headers = live.ask("POST", "/v1/completions", {"model": "puzzles"}, content_type="text/plain")
        assert status == 415 and "application/json" in answer["error"]["message"]
        assert not [name for name in headers if name.lower().startswith("access-control")]


def test_a_large_body_is_refused_before_it_is_read(serve: Any, gated: Any) -> None:
    with serve(gated, own={"max_body": 1000}) as live:
        status, answer, _ = live.ask("POST", "/v1/completions", b" " * 1001)
        assert status == 413 and "larger than 1000 bytes" in answer["error"]["message"]
        line = socket.create_connection(("127.0.0.1", live.port))
        head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        line.sendall(head + b"transfer-encoding: chunked\r\n\r\n" + (b"400\r\n" + b" " * 1024 + b"\r\n"))
        assert b" 413 " in line.recv(1000)
        line.close()
        assert live.complete(prompt="a", max_tokens=2)[0] == 200


def test_a_body_that_comes_too_slowly_is_refused(serve: Any, gated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SECONDS", 0.1)
    with serve(gated) as live:
        line = socket.create_connection(("127.0.0.1", live.port))
        head = (
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n"
        )
        line.sendall(head + b"{")
        assert b" 408 " in line.recv(1000)
        line.close()
