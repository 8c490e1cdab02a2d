"""Every request that is not met is an error in OpenAI's form, which says what was wrong and what is accepted."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from mdmkit_serve.fields import ABSENT, CHAT, COMPLETION, EXTENSION, check
from mdmkit_serve.refusal import Refusal

RIGHT = {"model": "m", "prompt": "x"}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("max_tokens", 0, "max_tokens is 0, and must be a whole number from 1 to"),
        ("max_tokens", True, "max_tokens is True, and must be a whole number"),
        ("max_tokens", 1.5, "max_tokens is 1.5, and must be a whole number"),
        ("temperature", -1, "temperature is -1, and must be a number from 0 to 100"),
        ("temperature", float("nan"), "temperature is nan"),
        ("top_p", 0, "top_p is 0, and must be a number above 0 and at most 1"),
        ("n", 129, "n is 129, and must be a whole number from 1 to 128"),
        ("seed", 1 << 63, "seed is 9223372036854775808, and must be a whole number from"),
        ("stop", ["a"] * 17, "must be a text that is not empty, or a list of texts, 1 to 16 of them"),
        ("stop", "", "stop is '', and must be a text that is not empty"),
        ("stream", 1, "stream is 1, and must be true or false"),
        ("stream_options", {"usage": True}, "stream_options: unknown key 'usage'. Did you mean 'include_usage'?"),
        ("prompt", [], "prompt is [], and must be a text, or a list of texts, 1 to 128 of them"),
        ("prompt", [1, "x"], "prompt is [1, 'x'], and must be"),
        ("prompt", [-1], "prompt is [-1], and must be"),
        ("logprobs", 5, "logprobs is 5, and must be a whole number: 0 is the only one accepted"),
        ("user", "x" * 201, "user has 201 characters: it is a text of at most 200 characters"),
        ("mdmkit", {"sampel": 1}, "mdmkit: unknown key 'sampel'. Did you mean 'sampler'? Accepted: chat_options"),
        ("mdmkit", {"draft": "yes"}, "mdmkit.draft is 'yes', and must be true or false"),
        ("max_token", 5, "unknown field 'max_token'. Did you mean 'max_tokens'? Accepted: echo, guided_choice"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_accepted(field: str, value: Any, said: str) -> None:
    with pytest.raises(Refusal) as caught:
        check(RIGHT | {field: value}, COMPLETION)
    assert caught.value.status == 400 and said in caught.value.message
    assert caught.value.json()["error"]["param"] == field
    assert caught.value.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("field", ABSENT)
def test_a_field_that_is_not_here_is_refused_by_name(field: str) -> None:
    with pytest.raises(Refusal, match=f"^{field} cannot be given: ") as caught:
        check(RIGHT | {field: ["something"]}, COMPLETION)
    assert caught.value.code == "unsupported_parameter"
    assert check(RIGHT | {field: None} | dict.fromkeys([field], None), COMPLETION) == RIGHT


@pytest.mark.parametrize(
    ("field", "value"),
    [("tools", []), ("logit_bias", {}), ("presence_penalty", 0), ("best_of", 1)],
)
def test_a_value_that_asks_for_nothing_is_accepted(field: str, value: Any) -> None:
    assert check(RIGHT | {field: value}, COMPLETION) == RIGHT


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Refusal, match="model is missing: it is a text"):
        check({"prompt": "x"}, COMPLETION)
    with pytest.raises(Refusal, match="messages is missing: it is a list of messages, each an object with 'role' and"):
        check({"model": "m"}, CHAT)
    with pytest.raises(Refusal, match=r"messages\[1\] has no 'content'"):
        check({"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": "user"}]}, CHAT)
    with pytest.raises(Refusal, match=r"the body is a JSON object, and not \[\]"):
        check([], COMPLETION)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"prompt": "7*8=", "max_tokens": 4000},
            "this model has 64. Shorten the prompt, or append at most 60 masks (max_tokens)",
        ),
        ({"prompt": "seven"}, "tokenizer cannot read 'seven'"),
        ({"prompt": [99]}, "token id 99 is outside the model's vocabulary"),
        ({"prompt": "7*8=_", "stop": "0"}, "this prompt holds masks"),
        ({"prompt": [9, 14], "echo": True}, "echo returns texts"),
        ({"prompt": "7", "logprobs": 0, "stream": True}, "logprobs come with the whole answer"),
        ({"prompt": "7", "stream_options": {}}, "stream_options is for stream=true"),
        ({"prompt": "7", "mdmkit": {"draft": True}}, "mdmkit.draft sends the canvas while it fills"),
        ({"prompt": ["7"] * 100, "n": 2}, "100 prompts times n=2 are more than 128 choices"),
        (
            {"prompt": "7", "mdmkit": {"sampler": "confidenze"}},
            "unknown sampler 'confidenze'. Did you mean 'confidence'?",
        ),
        ({"prompt": "7", "mdmkit": {"set": {"plan.blok": 2}}}, "unknown plan parameter 'blok'. Did you mean 'block'?"),
        ({"prompt": "7", "mdmkit": {"set": {"plan.length": 2}}}, "plan.length is the field 'max_tokens' of a request"),
        ({"prompt": "7", "mdmkit": {"set": {"plan": {"length": 2}}}}, "plan.length is the field 'max_tokens'"),
        ({"prompt": "7", "mdmkit": {"set": {"seed": 2}}}, "seed is the field 'seed' of a request"),
        ({"prompt": "7", "mdmkit": {"set": {"score": "confidence", "score.a.b": 2}}}, "score"),
        ({"prompt": "7", "mdmkit": {"sampler": "pc", "set": {"score.table": "/etc/passwd"}}}, "looks like a path"),
        (
            {"prompt": "7", "mdmkit": {"sampler": "info_gain", "set": {"select.candidates": 1000}}},
            "looks at 1000 states of a row, and a request may ask for 64",
        ),
        ({"prompt": "7", "mdmkit": {"set": {"guidance.scale": "x"}}}, "guidance.scale"),
    ],
)
def test_a_request_that_cannot_be_met_is_a_400(live: Any, body: dict[str, Any], said: str) -> None:
    status, answer = live.complete(**body)
    assert status == 400 and said in answer["error"]["message"], answer
    assert not live.notes


def test_messages_that_cannot_be_read_are_refused(live: Any) -> None:
    def refused(**body: Any) -> str:
        status, answer, _ = live.ask("POST", "/v1/chat/completions", {"model": "puzzles", **body})
        assert status == 400
        return answer["error"]["message"]

    image = [{"type": "image_url", "image_url": {"url": "x"}}]
    assert "only parts of text are read here" in refused(messages=[{"role": "user", "content": image}])
    asked = {"role": "user", "content": "7"}
    assert "no other key" in refused(messages=[{**asked, "name": "ann"}])
    assert "give one" in refused(messages=[asked], max_tokens=1, max_completion_tokens=2)
    assert "unknown field 'prompt'" in refused(messages=[asked], prompt="x")
    assert "top_logprobs is for logprobs=true" in refused(messages=[asked], top_logprobs=0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"prompt": "a", "prompt": "b"}', "the key 'prompt' stands twice in one object"),
        (b"{", "the body is not JSON"),
        (b"\xff{}", "the body is not UTF-8 text"),
        (b'{"temperature": NaN}', "NaN is no number of JSON"),
        (b"[" * 100_000, "nested too deep"),
        (b"", "the body is not JSON"),
    ],
)
def test_a_body_that_is_no_json_is_a_400(live: Any, body: bytes, said: str) -> None:
    status, answer, _ = live.ask("POST", "/v1/completions", body)
    assert status == 400 and said in answer["error"]["message"]


@pytest.mark.parametrize(
    "more", [{"\ud800": 1}, {"user": "\ud800", "n": 1000}, {"model": "\ud800"}], ids=["name", "user", "model"]
)
def test_half_a_character_is_answered_in_json(live: Any, more: dict[str, Any]) -> None:
    body = json.dumps({"model": "puzzles", "prompt": "7", **more})
    status, answer, _ = live.ask("POST", "/v1/completions", body.encode())
    assert status in (400, 404) and answer["error"]["message"]


def test_a_client_cannot_write_lines_or_controls_into_the_log(live: Any) -> None:
    sent = {"model": "puzzles", "prompt": "7+8=", "max_tokens": 2, "user": "ann\n2026-01-01 FORGED\x1b[31m\u2028x"}
    assert live.ask("POST", "/v1/completions", sent)[0] == 200
    end = time.monotonic() + 5
    while not (own := [line for line in live.log if "ann" in line]) and time.monotonic() < end:
        time.sleep(0.01)  # the line is written after the answer
    line = own[-1]
    assert line.endswith(r"ann 2026-01-01 FORGED\x1b[31m x") and len(line.splitlines()) == 1


def test_a_setting_that_is_nested_too_deep_is_a_400(live: Any) -> None:
    status, answer, _ = live.ask(
        "POST", "/v1/completions", {"model": "puzzles", "prompt": "7", "mdmkit": {"set": {"draw" + ".a" * 990: 1}}}
    )
    assert status == 400 and "has more than 20 dots" in answer["error"]["message"]


def test_the_client_raises_the_errors_of_their_status(live: Any) -> None:
    client = live.client()
    with pytest.raises(openai.BadRequestError, match="max_tokens is -1"):
        client.completions.create(model="puzzles", prompt="7", max_tokens=-1)
    with pytest.raises(openai.NotFoundError, match="model 'gpt-9' is not served here; the one that is: 'puzzles'"):
        client.completions.create(model="gpt-9", prompt="7")
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="puzzles", prompt="seven", stream=True)
    assert caught.value.body["param"] is None


def test_unknown_paths_and_methods_are_json(live: Any) -> None:
    status, answer, _ = live.ask("GET", "/v1/edits")
    assert status == 404 and "POST /v1/completions" in answer["error"]["message"]
    status, answer, headers = live.ask("GET", "/v1/completions")
    assert status == 405 and answer["error"]["type"] == "invalid_request_error" and headers["allow"] == "POST"


@pytest.mark.parametrize("page", ["docs/plugins/serve.md", "plugins/mdmkit-serve/README.md"])
def test_the_line_of_curl_on_a_page_is_a_right_request(live: Any, page: str) -> None:
    """It is sent as it stands there, but for the model and the question, which this model has no words for."""
    text = (Path(__file__).parents[3] / page).read_text()
    form = r"curl http://127.0.0.1:8000(\S+) -H 'content-type: application/json' \\\s+-d '(.*)'"
    ((path, sent),) = re.findall(form, text)
    body = json.loads(sent)
    assert check(body, CHAT) == body and re.search(rf"mdmkit serve --model {body['model']} ", text)
    message = body["messages"][0] | {"content": "7*8="}
    assert live.ask("POST", path, body | {"model": "puzzles", "messages": [message]})[0] == 200


def test_the_tables_of_the_page_have_every_field_and_key() -> None:
    page = (Path(__file__).parents[3] / "docs/plugins/serve.md").read_text()
    first_cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")]
    named = set(re.findall(r"`([\w.]+)`", " ".join(first_cells)))
    fields = {*COMPLETION, *CHAT} - {"model", "prompt", "messages", "top_logprobs", "stream_options"}
    assert fields <= named and {*EXTENSION} <= named
