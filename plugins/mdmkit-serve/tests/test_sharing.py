"""Rows of many requests share the model: they join at the next step, samplers take turns, no answer depends on it."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

import mdmkit

PRESETS = ("confidence", "info_gain")


def alone(backbone: Any, preset: str, body: dict[str, Any]) -> list[int]:
    """The tokens of `decode` for one request."""
    sampler = mdmkit.compose(preset, draw={"temperature": body["temperature"]})
    prompt = {"prompt": body["prompt"], "length": body["max_tokens"], "chat": False}
    return mdmkit.decode(sampler, backbone, [prompt], seed=body["seed"]).tokens[0]


def test_64_parallel_requests_have_the_tokens_of_decode_one_by_one(serve: Any, gated: Any) -> None:
    draw = random.Random(0)
    asked = [
        {
            "prompt": "abcdefgh"[: draw.randrange(1, 8)],
            "max_tokens": draw.choice((1, 3, 6, 9, 14)),
            "seed": draw.randrange(1 << 40),
            "temperature": draw.choice((0.0, 1.0)),
        }
        for _ in range(64)
    ]
    with serve(gated, slots=8) as live:
        sent = [live.start(**body, mdmkit={"sampler": PRESETS[i % 2], "tokens": True}) for i, body in enumerate(asked)]
        answers = [each.result(60) for each in sent]
        assert live.service.metrics.rows.labels("done")._value.get() == 64
    assert [status for status, _ in answers] == [200] * 64
    got = [answer["choices"][0]["mdmkit"]["tokens"] for _, answer in answers]
    calls = len(gated.sizes)
    assert got == [alone(gated, PRESETS[i % 2], body) for i, body in enumerate(asked)]
    assert calls < len(gated.sizes) - calls  # they were decoded together


def test_a_short_request_joins_at_the_next_step_and_leaves_after_its_own(serve: Any, gated: Any) -> None:
    with serve(gated, slots=4) as live:
        gated.seconds = 0.002
        long = live.start(prompt="a", max_tokens=240)
        live.until(lambda: len(gated.sizes) > 10)
        before = len(gated.sizes)
        status, _ = live.complete(prompt="ab", max_tokens=8)
        assert status == 200
        # Its 8 steps, and those that passed while the request and its answer travelled.
        assert 8 <= gated.sizes[before:].count(2) <= 9
        assert long.result(10)[0] == 200
    assert len(gated.sizes) <= 241


def test_requests_with_equal_samplers_share_a_batch_and_others_take_turns(serve: Any, gated: Any) -> None:
    gated.gate.clear()
    with serve(gated, slots=8) as live:
        sent = [live.start(prompt="a", max_tokens=20, seed=seed) for seed in range(3)]
        # The same sampler, said in other words.
        sent += [
            live.start(prompt="a", max_tokens=20, mdmkit={"sampler": "confidence", "set": {"select.name": "top_k"}})
        ]
        sent += [live.start(prompt="a", max_tokens=20, temperature=0.0)]
        sent += [live.start(prompt="a", max_tokens=20, mdmkit={"sampler": "margin"}) for _ in range(2)]
        live.until(lambda: live.service.scheduler.waiting + live.service.scheduler.working == 7)
        gated.gate.set()
        assert [each.result(10)[0] for each in sent] == [200] * 7
    both = [size for size in gated.sizes if size in (2, 5)]
    assert both.count(5) >= 19 and both.count(2) >= 19  # the first one may be a step ahead
    turns = both[4:-4]
    assert all(one != other for one, other in pairwise(turns))  # one step each


def test_rows_are_admitted_first_come_first_served_whatever_their_sampler(serve: Any, gated: Any) -> None:
    gated.seconds = 0.002
    ended: list[str] = []
    with serve(gated, slots=2) as live:

        def ask(name: str, **body: Any) -> Any:
            sent = live.start(**body)
            sent.add_done_callback(lambda done: ended.append(name))
            live.until(lambda: live.service.scheduler._number >= len(every) + 1)
            return sent

        every: list[Any] = []
        for name, sampler in zip("abcde", ("margin", "margin", "margin", "confidence", "margin"), strict=True):
            length = 60 if name == "e" else 30
            every.append(ask(name, prompt="a", max_tokens=length, mdmkit={"sampler": sampler}))
        assert [each.result(10)[0] for each in every] == [200] * 5
    assert ended.index("d") < ended.index("e")  # those of the other sampler that came later do not keep it waiting


def test_columns_limit_what_is_admitted_together(serve: Any, gated: Any) -> None:
    gated.seconds = 0.001
    with serve(gated, slots=8, columns=40) as live:
        sent = [live.start(prompt="ab", max_tokens=18) for _ in range(6)]  # 20 columns each
        assert [each.result(10)[0] for each in sent] == [200] * 6
        assert max(gated.sizes) == 2
        status, answer = live.complete(prompt="ab", max_tokens=39)
        assert status == 400 and "take 41 columns, and the server has 40 for all rows" in answer["error"]["message"]
        status, answer = live.complete(
            prompt="ab", max_tokens=18, mdmkit={"set": {"search": "best_of_n", "search.particles": 3}}
        )
        assert status == 400 and "take 60 columns" in answer["error"]["message"]


def test_the_metrics_count_what_was_done(serve: Any, gated: Any) -> None:
    with serve(gated, slots=2) as live:
        assert live.complete(prompt="abc", max_tokens=5, n=2)[0] == 200
        assert live.complete(prompt="abc", max_tokens=0)[0] == 400
        for path in ("/v1/models/x", "/v1/models/y", "/no", "/nothing"):
            assert live.ask("GET", path)[0] == 404
        live.until(lambda: len(live.log) == 6)
        status, text, _ = live.ask("GET", "/metrics")
    assert status == 200
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(found['mdmkit_tokens_total{kind="completion"}']) == 10
    assert float(found['mdmkit_tokens_total{kind="prompt"}']) == 3
    assert float(found['mdmkit_rows_total{how="done"}']) == 2
    assert float(found["mdmkit_model_calls_total"]) == len(gated.sizes) == 5
    assert float(found['mdmkit_requests_total{path="/v1/completions",status="200"}']) == 1
    assert float(found['mdmkit_requests_total{path="/v1/completions",status="400"}']) == 1
    # A client cannot make counters by asking for many paths.
    assert float(found['mdmkit_requests_total{path="/v1/models/{name:path}",status="404"}']) == 2
    assert float(found['mdmkit_requests_total{path="other",status="404"}']) == 2
    assert float(found["mdmkit_slots"]) == 2 and float(found["mdmkit_rows_working"]) == 0


@pytest.mark.parametrize("stream", [False, True])
def test_choices_of_a_request_are_decoded_together(serve: Any, gated: Any, stream: bool) -> None:
    with serve(gated, slots=4) as live:
        asked: dict[str, Any] = {"model": "puzzles", "prompt": "abc", "max_tokens": 12, "n": 4, "temperature": 1.5}
        done = live.client().completions.create(**asked, seed=1, stream=stream)
        if stream:
            texts = [""] * 4
            for chunk in done:
                texts[chunk.choices[0].index] += chunk.choices[0].text
        else:
            texts = [choice.text for choice in done.choices]
    sampler = mdmkit.compose("confidence", draw={"temperature": 1.5})
    assert texts == mdmkit.decode(sampler, gated, [{"prompt": "abc", "length": 12}] * 4, seed=1).texts
    assert gated.sizes[0] == 4


def test_of_the_rows_that_wait_the_longest_goes_first_but_none_is_passed_by_more_than_the_slots(
    serve: Any, gated: Any
) -> None:
    gated.gate.clear()
    ended: list[int] = []
    with serve(gated, slots=1) as live:
        for count, length in enumerate((3, 2, 9, 8, 7, 4), 1):
            sent = live.start(prompt="a", max_tokens=length)
            sent.add_done_callback(lambda done, length=length: ended.append(length))
            live.until(lambda count=count: live.service.scheduler._number == count)
        gated.gate.set()  # the first one is at work, the others wait
        live.until(lambda: len(ended) == 6)
    assert ended == [3, 9, 2, 8, 7, 4]
