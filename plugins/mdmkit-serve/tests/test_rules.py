"""Answers that keep a rule which the request names in OpenAI's words, or in vLLM's."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import openai
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import mdmkit

SPECIAL = ["<pad>", "<mask>", "<end>"]
PERSON = {
    "type": "object",
    "properties": {"name": {"pattern": "^[a-z]{1,8}$"}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
}
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture(scope="module")
def writer() -> Any:
    """A model of random logits that can write every text, byte by byte."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*letters, *SPECIAL])}, merges=[]))
    core.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    names = {"pad_token": "<pad>", "mask_token": "<mask>", "eos_token": "<end>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, clean_up_tokenization_spaces=False, **names)
    tokenizer.chat_template = TEMPLATE
    places = torch.randn(128, len(tokenizer), generator=torch.Generator().manual_seed(0))
    backbone = mdmkit.wrap(lambda ids, attention_mask=None: places[: ids.shape[1]].expand(len(ids), -1, -1), tokenizer)
    return backbone.backbone


@pytest.fixture(scope="module")
def written(writer: Any, serve: Any) -> Any:
    with serve(writer, length=40) as live:
        yield live


def test_the_official_client_gets_json_that_fits(written: Any) -> None:
    asked = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}
    messages: list[Any] = [{"role": "user", "content": "Ann is 7."}]
    client = written.client()
    answer = client.chat.completions.create(model="puzzles", messages=messages, response_format=asked, seed=1)
    jsonschema.validate(json.loads(answer.choices[0].message.content), PERSON)
    stream = client.chat.completions.create(
        model="puzzles", messages=messages, response_format=asked, seed=1, stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == answer.choices[0].message.content
    answer = client.chat.completions.create(
        model="puzzles", messages=messages, response_format={"type": "json_object"}, temperature=1
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"guided_regex": r"[0-9]{3}-[a-c]+"}, lambda text: re.fullmatch(r"[0-9]{3}-[a-c]+", text)),
        ({"guided_regex": r"/\w+/"}, lambda text: re.fullmatch(r"/\w+/", text)),
        ({"guided_choice": ["red", "green"]}, lambda text: text in ("red", "green")),
        ({"guided_json": PERSON}, lambda text: set(json.loads(text)) == {"name", "age"}),
        ({"guided_json": json.dumps(PERSON)}, lambda text: set(json.loads(text)) == {"name", "age"}),
        ({"structured_outputs": {"choice": ["a", "b"]}}, lambda text: text in ("a", "b")),
        ({"structured_outputs": {"regex": "x+", "json": None}}, lambda text: re.fullmatch("x+", text)),
        ({"structured_outputs": {"json": {"type": "boolean"}}}, lambda text: text in ("true", "false")),
        ({"guided_choice": ["red"], "response_format": {"type": "text"}}, lambda text: text == "red"),
    ],
)
@pytest.mark.parametrize("sampler", ["confidence", "info_gain"])
def test_every_answer_keeps_its_rule(written: Any, body: dict[str, Any], fits: Any, sampler: str) -> None:
    own = {"sampler": sampler, "set": {"plan.tokens_per_step": 2}}
    status, answer = written.complete(prompt="x", n=3, temperature=1, seed=0, mdmkit=own, **body)
    assert status == 200, answer
    assert all(fits(choice["text"]) for choice in answer["choices"]), answer["choices"]


def test_requests_with_and_without_rules_do_not_disturb_each_other(written: Any) -> None:
    asked = [
        {"prompt": f"p{i}", "seed": i, "temperature": 1, "max_tokens": 10, **more}
        for i in range(4)
        for more in ({}, {"guided_regex": "[a-f]{1,8}"}, {"guided_choice": ["x", "yy"]})
    ]
    alone = [written.complete(**body)[1]["choices"] for body in asked]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda body: written.complete(**body)[1]["choices"], asked))
    assert [c[0]["text"] for c in together] == [c[0]["text"] for c in alone]


def test_the_order_of_properties_is_that_of_the_schema(written: Any) -> None:
    for names in ("ab", "ba"):
        schema = {"type": "object", "properties": {c: {"type": "null"} for c in names}, "required": list(names)}
        _, answer = written.complete(prompt="x", guided_json=schema)
        assert list(json.loads(answer["choices"][0]["text"])) == list(names)


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"guided_regex": "("}, "guided_regex", "pattern '(' is no regular expression"),
        ({"guided_regex": "(?=a)b"}, None, "no text of this model's tokens keeps pattern '(?=a)b'"),
        ({"guided_regex": 3}, "guided_regex", "guided_regex is 3, and must be a text"),
        ({"guided_choice": []}, "guided_choice", "guided_choice has 0 items"),
        ({"guided_choice": [""]}, "guided_choice", "guided_choice names no text"),
        ({"guided_json": {"type": "int"}}, "guided_json", "unknown type at guided_json: 'int'"),
        ({"guided_json": "{"}, "guided_json", "guided_json is '{', which is no JSON"),
        ({"guided_json": {"not": {}}}, "guided_json", "guided_json has 'not', which is not supported"),
        ({"response_format": {"type": "xml"}}, "response_format", "must be one of: text, json_object, json_schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "json_schema has no 'schema'"),
        ({"response_format": {}}, "response_format", "response_format has no 'type'"),
        ({"structured_outputs": {}}, "structured_outputs", "has one of: choice, json, regex"),
        ({"structured_outputs": {"grammar": "x"}}, "structured_outputs", "unknown key 'grammar'"),
        ({"guided_grammar": "x"}, "guided_grammar", "the server reads no grammars"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice", "guided_regex and guided_choice both ask"),
        ({"guided_regex": "a", "mdmkit": {"set": {"constraint": None}}}, "mdmkit", "mdmkit.set has a constraint"),
        ({"guided_regex": "a", "mdmkit": {"sampler": "edit"}}, "guided_regex", "commit 'edit'"),
        ({"guided_regex": "a", "mdmkit": {"sampler": "no"}}, "mdmkit", "unknown sampler 'no'"),
        ({"guided_regex": "a{9}", "max_tokens": 4}, None, "4 tokens are too few to keep pattern 'a{9}'"),
        ({"guided_choice": ["é" * 9], "max_tokens": 4}, None, "the shortest text that does takes 18. Set max_tokens"),
        ({"guided_regex": "(a|b)*a(a|b){20}"}, "guided_regex", "to become an automaton"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_a_400(
    written: Any, body: dict[str, Any], field: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdmkit_constrain.apart._maker.seconds", 2)
    status, answer = written.complete(prompt="x", **body)
    assert status == 400 and said in answer["error"]["message"], answer
    assert answer["error"]["param"] == field


def test_the_client_raises_the_error_of_a_wrong_schema(written: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="unknown word at response_format"):
        written.client().chat.completions.create(
            model="puzzles",
            messages=[{"role": "user", "content": "x"}],
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"propertis": {}}}},
        )


def test_rules_that_take_long_keep_nobody_else_waiting(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdmkit_constrain.apart._maker.seconds", 0.3)
    slow = [".*a" + "." * n for n in range(20, 50)]
    rule = {"name": "regex", "pattern": "(b|a)*a(a|b){21}"}
    with ThreadPoolExecutor(32) as pool:
        asked = [pool.submit(written.complete, prompt="x", guided_regex=pattern) for pattern in slow]
        asked.append(pool.submit(written.complete, prompt="x", mdmkit={"set": {"constraint": rule}}))
        while written.service.making < 16:
            assert not all(each.done() for each in asked)
        began = time.monotonic()
        status, _ = written.complete(prompt="x", max_tokens=2, response_format={"type": "text"})
        assert status == 200 and written.ask("GET", "/health")[0] == 200
        assert time.monotonic() - began < 3, "a plain request waited for the rules of others"
        answers = [each.result() for each in asked]
    assert {status for status, _ in answers} == {400, 429}
    assert all("needs more than" in said["error"]["message"] for status, said in answers if status == 400)
    assert written.service.making == 0


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Tables are not made before the second event; the first says that somebody wants them."""
    from mdmkit_constrain import preparing

    tables_for, wanted, gate = preparing.tables_for, threading.Event(), threading.Event()

    def held(*given: Any) -> Any:
        wanted.set()
        assert gate.wait(20)
        return tables_for(*given)

    monkeypatch.setattr(preparing, "tables_for", held)
    yield wanted, gate
    gate.set()


def test_rows_at_work_do_not_wait_for_the_tables_of_a_new_rule(
    written: Any, held: tuple[threading.Event, threading.Event]
) -> None:
    wanted, gate = held
    ruled = [written.start(prompt="x", n=2, guided_regex=f"held[{c}]+", max_tokens=9) for c in "ab"]
    assert wanted.wait(20)
    assert written.complete(prompt="x", max_tokens=3)[0] == 200
    assert not any(each.done() for each in ruled)
    gate.set()
    for each, end in zip(ruled, "ab", strict=True):
        status, answer = each.result(20)
        assert status == 200 and all(re.fullmatch(f"held{end}+", c["text"]) for c in answer["choices"]), answer


def test_a_request_that_is_gone_before_its_rule_is_ready_takes_no_slot(
    written: Any, held: tuple[threading.Event, threading.Event]
) -> None:
    wanted, gate = held
    line = written.open(json.dumps({"model": "puzzles", "prompt": "x", "guided_regex": "gone[a-c]"}).encode())
    assert wanted.wait(20)
    line.close()
    scheduler = written.service.scheduler
    written.until(lambda: not scheduler._open)
    gate.set()
    written.until(lambda: not scheduler.crew.checking.jobs)
    assert scheduler.waiting == scheduler.working == 0


def test_a_server_that_ends_answers_requests_whose_rules_are_not_ready(
    writer: Any, serve: Any, held: tuple[threading.Event, threading.Event]
) -> None:
    wanted, gate = held
    with serve(writer, length=9) as live:
        asked = live.start(prompt="x", guided_regex="ends[a-c]+")
        assert wanted.wait(20)
        live.service.scheduler.close()
        gate.set()
        status, answer = asked.result(20)
        assert status == 200 and answer["choices"][0]["text"].startswith("ends")


def test_each_row_of_a_request_is_not_checked_anew(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mdmkit_constrain import language

    calls, why = [], language.why_none
    monkeypatch.setattr(language, "why_none", lambda *given: calls.append(1) or why(*given))
    status, _ = written.complete(prompt="x", n=16, max_tokens=7, guided_regex="[c-e]{3}x{0,9}")
    assert status == 200 and len(calls) == 1
