"""A fault is the error of the request whose fault it is; all others get their answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

import mdmkit
from mdmkit.cli.commands import default_registry
from mdmkit.installed import registry

PROMPTS = ("a", "b", "cab", "d", "ea")


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of faulty_plugin.py are registered."""
    monkeypatch.setattr(registry, "_default", None)
    default_registry().add_file(Path(__file__).with_name("faulty_plugin.py"))


def ask_all(live: Any, gated: Any, **own: Any) -> dict[str, tuple[int, Any]]:
    """Ask for all prompts at once."""
    gated.gate.clear()
    sent = {prompt: live.start(prompt=prompt, max_tokens=12, mdmkit={"set": own}) for prompt in PROMPTS}
    live.until(lambda: live.service.scheduler.waiting + live.service.scheduler.working == len(PROMPTS))
    gated.gate.set()
    return {prompt: each.result(20) for prompt, each in sent.items()}


def check_answers(answers: dict[str, tuple[int, Any]], gated: Any, said: str) -> None:
    """The prompt with `c` has an error that says this, and all others have the text of `decode`."""
    status, answer = answers.pop("cab")
    assert status == 500 and said in answer["error"]["message"], answer
    assert answer["error"]["type"] == "server_error" and "Traceback" not in str(answer)
    gated.fails = lambda tokens: None
    asked = [{"prompt": prompt, "length": 12} for prompt in answers]
    texts = mdmkit.decode(mdmkit.compose("confidence"), gated, asked).texts
    assert [(status, answer["choices"][0]["text"]) for status, answer in answers.values()] == [(200, t) for t in texts]


def test_a_part_that_raises_for_all_rows_is_the_error_of_one(serve: Any, gated: Any, faulty: None) -> None:
    with serve(gated) as live:
        check_answers(ask_all(live, gated, score="raising"), gated, "score Raising (of file:faulty_plugin.py")
        assert live.complete(prompt="a", max_tokens=3)[0] == 200


def test_a_part_that_breaks_a_promise_for_one_row_is_its_error(serve: Any, gated: Any, faulty: None) -> None:
    with serve(gated) as live:
        answers = ask_all(live, gated, select="straying")
        check_answers(answers, gated, "select Straying (of file:faulty_plugin.py")
    assert gated.sizes[:40].count(1) < 14  # the others were not decoded again one by one


def test_a_model_that_raises_for_one_row_is_its_error(serve: Any, gated: Any) -> None:
    def fails(tokens: Any) -> None:
        if bool((tokens[:, 0] == 3).any()):
            raise RuntimeError("an odd row")

    gated.fails = fails
    with serve(gated) as live:
        check_answers(ask_all(live, gated), gated, "failed in forward: RuntimeError: an odd row")


def test_a_stream_ends_with_the_error(serve: Any, gated: Any) -> None:
    gated.fails = lambda tokens: None if len(gated.sizes) < 5 else 1 / 0
    with serve(gated) as live:
        chunks = live.client().completions.create(model="puzzles", prompt="a", max_tokens=12, stream=True)
        with pytest.raises(openai.APIError, match="ZeroDivisionError"):
            list(chunks)


def test_too_little_memory_halves_the_rows_and_loses_none(serve: Any, gated: Any) -> None:
    def fails(tokens: Any) -> None:
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    gated.fails = fails
    with serve(gated, slots=8) as live:
        answers = ask_all(live, gated)
        assert [status for status, _ in answers.values()] == [200] * 5
        assert re.match("Out of memory with [345] rows: [12] at a time from here on", live.notes[0])
        gated.fails = lambda tokens: None
        asked = [{"prompt": prompt, "length": 12} for prompt in PROMPTS]
        texts = mdmkit.decode(mdmkit.compose("confidence"), gated, asked).texts
        assert [answer["choices"][0]["text"] for _, answer in answers.values()] == texts
        # Every row that ends well raises the number by one.
        for _ in range(8):
            assert live.complete(prompt="a", max_tokens=1)[0] == 200
        live.until(lambda: live.service.scheduler.most == 8)


def test_a_row_that_does_not_fit_alone_is_a_507(serve: Any, gated: Any) -> None:
    def fails(tokens: Any) -> None:
        if tokens.shape[1] > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")

    gated.fails = fails
    with serve(gated, slots=4) as live:
        small = live.start(prompt="a", max_tokens=10)
        status, answer = live.complete(prompt="a", max_tokens=40)
        assert (status, answer["error"]["code"]) == (507, "out_of_memory")
        assert small.result(10)[0] == 200
        assert live.complete(prompt="a", max_tokens=10)[0] == 200


def test_too_little_memory_for_a_row_that_joins_loses_none(serve: Any, gated: Any) -> None:
    """A row joins within the step in which another ends. If memory is too small for both, they go one after another."""

    def fails(tokens: Any) -> None:
        (running,) = live.service.scheduler.crew.running.values()
        if len(running.engine.at_work) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with serve(gated, preset="info_gain", slots=1) as live:
        gated.fails = fails
        answers = ask_all(live, gated)
        assert [status for status, _ in answers.values()] == [200] * len(PROMPTS)
        assert live.notes and all("Out of memory with 2 rows: 1 at a time" in note for note in live.notes)


def test_a_sampler_that_the_model_cannot_run_is_a_400(serve: Any, gated: Any) -> None:
    with serve(gated) as live:
        status, answer = live.complete(prompt="a", mdmkit={"set": {"cache": "dual"}})
        assert status == 400 and "cache=dual" in answer["error"]["message"]
        assert live.complete(prompt="a", max_tokens=2)[0] == 200


def test_what_is_wrong_before_the_first_step_is_a_400(serve: Any, gated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that does not fit the model's blocks, for example; here the model cannot join the prompts."""

    def join(parts: Any) -> Any:
        raise mdmkit.MdmkitError("these prompts do not go together")

    monkeypatch.setattr(gated, "encode", lambda prompts, plan: (type(gated).encode(gated, prompts, plan)[0], 1))
    monkeypatch.setattr(gated, "join", join)
    with serve(gated) as live:
        status, answer = live.complete(prompt="b", max_tokens=2, n=2)
        assert status == 400 and "do not go together" in answer["error"]["message"]
        assert live.complete(prompt="a", max_tokens=2)[0] == 200


def test_if_the_thread_ends_every_request_is_told(serve: Any, gated: Any) -> None:
    class Panic(BaseException):  # as libraries in Rust raise it: no part is asked, and no thread goes on
        pass

    def fails(tokens: Any) -> None:
        raise Panic("index out of range")

    with serve(gated) as live:
        gated.fails = fails
        status, answer = live.complete(prompt="a")
        assert status == 503 and "the engine has ended: Panic" in answer["error"]["message"]
        assert live.complete(prompt="a")[0] == 503
        assert live.ask("GET", "/health")[0] == 503
        assert live.service.scheduler.broken
