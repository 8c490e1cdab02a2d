"""A judge behind an endpoint: both orders, ties, and what happens while it is down."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mdmkit import JudgeDown, MdmkitError
from mdmkit_tasks.judges import endpoint
from mdmkit_tasks.judges.endpoint import Endpoint, verdict
from mdmkit_tasks.public.writing import Writing

Reply = Callable[[dict[str, Any]], str | int]


class Stub:
    """An OpenAI-compatible server; `reply` gets the request and gives the text, or a status."""

    def __init__(self) -> None:
        self.reply: Reply = lambda asked: "[[tie]]"
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.asked.append(asked | {"path": self.path})
                stub.keys.append(self.headers.get("Authorization"))
                said = stub.reply(asked)
                body = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
                self.send_response(200 if isinstance(said, str) else said)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setattr(endpoint, "PAUSE", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    stub = Stub()
    yield stub
    stub.server.shutdown()
    stub.server.server_close()


def prefers(word: str) -> Reply:
    """A judge that prefers the text with a word, wherever it stands."""

    def reply(asked: dict[str, Any]) -> str:
        text = asked["messages"][0]["content"]
        return "Because.\n[[A]]" if word in text.split("<text B>")[0].split("<text A>")[1] else "[[B]]"

    return reply


def test_the_better_text_wins_in_both_orders(stub: Stub) -> None:
    stub.reply = prefers("good")
    judge = Endpoint(stub.url, "m")
    assert judge.prefers("p", "good", "bad") == {"score": 1.0, "agreed": 1.0, "unread": 0.0}
    assert judge.prefers("p", "bad", "good") == {"score": 0.0, "agreed": 1.0, "unread": 0.0}
    orders = [asked["messages"][0]["content"] for asked in stub.asked[:2]]
    assert orders[0].index("good") < orders[0].index("bad") and orders[1].index("bad") < orders[1].index("good")
    assert stub.asked[0]["path"] == "/v1/chat/completions" and stub.asked[0]["model"] == "m"


def test_a_judge_that_only_likes_what_comes_first_is_a_tie(stub: Stub) -> None:
    stub.reply = lambda asked: "[[A]]"
    assert Endpoint(stub.url, "m").prefers("p", "one", "two") == {"score": 0.5, "agreed": 0.0, "unread": 0.0}


def test_ties_and_half_ties(stub: Stub) -> None:
    judge = Endpoint(stub.url, "m")
    assert judge.prefers("p", "one", "two")["score"] == 0.5
    said = iter(["[[A]]", "[[tie]]"])
    stub.reply = lambda asked: next(said)
    assert judge.prefers("p", "one", "two")["score"] == 0.75


def test_equal_texts_are_a_tie_without_asking(stub: Stub) -> None:
    assert Endpoint(stub.url, "m").prefers("p", "same ", "same")["score"] == 0.5
    assert stub.asked == []


def test_what_cannot_be_read_is_a_tie_and_counted(stub: Stub) -> None:
    stub.reply = lambda asked: "Both are nice."
    assert Endpoint(stub.url, "m").prefers("p", "one", "two") == {"score": 0.5, "agreed": 1.0, "unread": 2.0}


@pytest.mark.parametrize(
    ("said", "value"),
    [("[[A]]", 1.0), ("[[B]]", 0.0), ("[[tie]]", 0.5), ("[[C]]", 0.5), ("First [[A]], no: [[ b ]]", 0.0), ("A", None)],
)
def test_verdicts_are_read_from_the_last_mark(said: str, value: float | None) -> None:
    assert verdict(said) == value


def test_a_server_that_recovers_is_asked_again(stub: Stub) -> None:
    codes = iter([503, 429])
    stub.reply = lambda asked: next(codes, "[[A]]")
    assert Endpoint(stub.url, "m").prefers("p", "one", "two")["score"] == 0.5
    assert len(stub.asked) == 4


@pytest.mark.parametrize(("code", "times"), [(500, 3), (401, 1), (404, 1)])
def test_one_that_does_not_is_down(stub: Stub, code: int, times: int) -> None:
    stub.reply = lambda asked: code
    with pytest.raises(JudgeDown, match=f"it answered {code}"):
        Endpoint(stub.url, "m").prefers("p", "one", "two")
    assert len(stub.asked) == times


def test_nobody_there_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PAUSE", 0.01)
    with pytest.raises(JudgeDown, match="Connection refused"):
        Endpoint("http://127.0.0.1:1/v1", "m").prefers("p", "one", "two")


def test_the_key_comes_from_the_environment(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "k")
    Endpoint(stub.url, "m", key="MY_KEY").prefers("p", "one", "two")
    Endpoint(stub.url, "m").prefers("p", "one", "two")
    assert stub.keys == ["Bearer k"] * 2 + [None] * 2


def test_the_task_compares_with_the_row_or_with_another_sampler(stub: Stub, tmp_path: Any) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text('{"prompt": "[WP] A cat", "story": "bad"}\n{"prompt": "A dog"}\n')
    stub.reply = prefers("good")
    task = Writing(str(data), judge_url=stub.url, judge_model="m")
    cat, dog = task.prompts(None, 0)
    assert "A cat" in cat["prompt"] and "[WP]" not in cat["prompt"]
    assert task.judge(cat, "good")["score"] == 1.0
    assert task.versus(dog, "bad", "good")["score"] == 0.0
    with pytest.raises(MdmkitError, match="this row has none"):
        task.judge(dog, "good")
    with pytest.raises(MdmkitError, match="judge_model=NAME"):
        Writing(str(data), judge_url=stub.url).prompts(1, 0)
    with pytest.raises(MdmkitError, match="must begin with http"):
        Writing(str(data), judge_url="localhost", judge_model="m").prompts(1, 0)
