"""The official client's own calls: models, completions, chat, streams, usage, errors."""

from __future__ import annotations

import math
from typing import Any

import openai
import pytest

import mdmkit
from mdmkit_serve import listening

TASK = "7*8="
ANSWER = "0111000"


def of_chunks(chunks: Any) -> tuple[str, list[Any]]:
    """The text of a stream of completions, and its pieces."""
    every = list(chunks)
    return "".join(chunk.choices[0].text for chunk in every if chunk.choices), every


def test_the_served_model_is_listed(live: Any) -> None:
    (model,) = live.client().models.list().data
    assert model.id == "puzzles" == live.client().models.retrieve("puzzles").id
    assert (model.mdmkit["sampler"], model.mdmkit["max_tokens"], model.mdmkit["chat"]) == ("confidence", 8, True)
    assert {"confidence", "info_gain"} < set(model.mdmkit["samplers"])
    with pytest.raises(openai.NotFoundError, match="'gpt-9' is not served here; the one that is: 'puzzles'"):
        live.client().models.retrieve("gpt-9")


def test_a_completion_has_the_tokens_of_decode(live: Any, puzzles: Any) -> None:
    asked: dict[str, Any] = {"model": "puzzles", "prompt": TASK, "max_tokens": 7, "seed": 3}
    done = live.client().completions.create(**asked, extra_body={"mdmkit": {"tokens": True}})
    sampler = mdmkit.compose("confidence")
    (row,) = mdmkit.decode(sampler, puzzles, [{"prompt": TASK, "length": 7, "chat": False}], seed=3).rows
    (choice,) = done.choices
    assert choice.text == row.text == ANSWER
    assert choice.finish_reason == "length"
    assert choice.mdmkit["tokens"] == row.tokens
    assert (choice.mdmkit["nfe"], choice.mdmkit["seed"]) == (row.nfe, row.seed)
    assert choice.mdmkit["uncertainty"] == pytest.approx(row.uncertainty, abs=2e-4)
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (4, 7, 11)
    assert done.mdmkit == {"sampler": "confidence", "seed": 3}


def test_masks_in_a_prompt_are_filled(live: Any) -> None:
    done = live.client().completions.create(model="puzzles", prompt="7*8=_______")
    assert done.choices[0].text == TASK + ANSWER
    assert done.choices[0].finish_reason == "stop"
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (4, 7)


def test_without_max_tokens_the_default_is_appended(live: Any) -> None:
    done = live.client().completions.create(model="puzzles", prompt=TASK)
    assert done.usage.completion_tokens == 8 == len(done.choices[0].text)


def test_several_prompts_and_choices_are_rows_of_one_run(live: Any, puzzles: Any) -> None:
    prompts = ["7*8=", "7"]
    done = live.client().completions.create(
        model="puzzles",
        prompt=prompts,
        n=2,
        max_tokens=7,
        seed=5,
        temperature=3.0,
        extra_body={"mdmkit": {"tokens": True}},
    )
    sampler = mdmkit.compose("confidence", draw={"temperature": 3.0})
    asked = [{"prompt": prompt, "length": 7, "chat": False} for prompt in prompts for _ in range(2)]
    rows = mdmkit.decode(sampler, puzzles, asked, seed=5).rows
    assert [choice.mdmkit["tokens"] for choice in done.choices] == [row.tokens for row in rows]
    assert [choice.index for choice in done.choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in done.choices}) > 2  # the choices of a prompt have seeds of their own
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (5, 28)


def test_token_ids_are_a_prompt(live: Any) -> None:
    ids = [9, 14, 10, 15]
    (one,) = live.client().completions.create(model="puzzles", prompt=ids, max_tokens=7).choices
    both = live.client().completions.create(model="puzzles", prompt=[ids, ids[:3]], max_tokens=7)
    assert one.text == both.choices[0].text == ANSWER
    assert both.usage.prompt_tokens == 7


def test_a_chat_goes_through_the_template(live: Any) -> None:
    messages: Any = [{"role": "user", "content": "7*"}, {"role": "user", "content": [{"type": "text", "text": "8="}]}]
    done = live.client().chat.completions.create(model="puzzles", messages=messages, max_completion_tokens=7)
    (choice,) = done.choices
    assert (choice.message.role, choice.message.content) == ("assistant", ANSWER)
    assert done.object == "chat.completion" and choice.finish_reason == "length"
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (4, 7)
    again = [*messages, choice.message.model_dump(), {"role": "user", "content": "6*7="}]
    assert (
        live.client().chat.completions.create(model="puzzles", messages=again, max_tokens=7).choices[0].message.content
    )


def test_a_stream_is_the_same_text_in_pieces(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "PAUSE", 0.0)
    asked: dict[str, Any] = {"model": "puzzles", "prompt": TASK, "max_tokens": 7, "seed": 1}
    text, chunks = of_chunks(live.client().completions.create(**asked, stream=True))
    assert text == ANSWER
    assert chunks[0].choices[0].text == "" and chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in chunks)
    assert sum(bool(chunk.choices[0].text) for chunk in chunks) > 1
    messages: Any = [{"role": "user", "content": TASK}]
    every = list(
        live.client().chat.completions.create(
            model="puzzles", messages=messages, max_tokens=7, stream=True, stream_options={"include_usage": True}
        )
    )
    assert every[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in every[:-1]) == ANSWER
    assert every[-1].choices == [] and every[-1].usage.completion_tokens == 7


def test_text_comes_when_no_later_step_can_change_it(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order confidence writes the last digits first: they are text only when all before them are there."""
    monkeypatch.setattr(listening, "PAUSE", 0.0)
    asked: dict[str, Any] = {"model": "puzzles", "prompt": TASK, "max_tokens": 7, "seed": 1}
    _, chunks = of_chunks(
        live.client().completions.create(**asked, stream=True, extra_body={"mdmkit": {"draft": True}})
    )
    said, drafts = "", []
    for chunk in chunks[:-1]:
        said += chunk.choices[0].text
        if own := chunk.choices[0].model_extra:
            drafts.append(own["mdmkit"]["draft"])
            filled = "".join(piece or "_" for piece in drafts[-1])
            assert filled.partition("_")[0] == said
    # Two steps may pass while one draft is on its way: then the client gets the later one.
    counts = [sum(piece is not None for piece in draft) for draft in drafts]
    assert counts == sorted({*counts}) and len(counts) >= 4
    assert all(len(draft) == 7 for draft in drafts)
    assert all(piece in (None, sign) for draft in drafts for piece, sign in zip(draft, ANSWER, strict=True))
    assert said + chunks[-1].choices[0].text == ANSWER


def test_a_stop_ends_the_answer_before_it(live: Any) -> None:
    asked: dict[str, Any] = {"model": "puzzles", "prompt": TASK, "max_tokens": 7, "seed": 1, "stop": ["9", "110"]}
    done = live.client().completions.create(**asked)
    assert (done.choices[0].text, done.choices[0].finish_reason) == ("01", "stop")
    text, chunks = of_chunks(live.client().completions.create(**asked, stream=True))
    assert text == "01" and chunks[-1].choices[0].finish_reason == "stop"


def test_a_stop_ends_the_row_before_it_is_full(live: Any) -> None:
    before = live.service.metrics.calls._value.get()
    done = live.client().completions.create(
        model="puzzles", prompt=TASK, max_tokens=40, stop="1", extra_body={"mdmkit": {"sampler": "left_to_right"}}
    )
    assert done.choices[0].text == "0" and done.choices[0].mdmkit["stopped"] == "stop"
    assert live.service.metrics.calls._value.get() - before < 10
    live.until(lambda: live.service.scheduler.working == 0)


def test_echo_repeats_the_prompt(live: Any) -> None:
    asked: dict[str, Any] = {"model": "puzzles", "prompt": TASK, "max_tokens": 7, "echo": True}
    assert live.client().completions.create(**asked).choices[0].text == TASK + ANSWER
    assert of_chunks(live.client().completions.create(**asked, stream=True))[0] == TASK + ANSWER


def test_a_suffix_stands_after_the_masks(live: Any, puzzles: Any) -> None:
    done = live.client().completions.create(model="puzzles", prompt="7*", suffix="=0111000", max_tokens=1)
    assert done.choices[0].text == "8"


def test_ranks_and_log_probabilities_of_the_finished_row(live: Any, puzzles: Any) -> None:
    asked = {"set": {"plan.logprobs": "final"}}
    done = live.client().completions.create(
        model="puzzles", prompt=TASK, max_tokens=7, logprobs=0, extra_body={"mdmkit": asked}
    )
    sampler = mdmkit.compose("confidence", plan={"length": 7, "logprobs": "final"})
    row = mdmkit.decode(sampler, puzzles, [{"prompt": TASK, "chat": False}], seed=done.mdmkit["seed"]).rows[0]
    found = done.choices[0].mdmkit["logprobs"]
    assert set(found) == {"logprob", "rank", "final_logprob", "final_rank"}
    assert all(values == pytest.approx(row.logprobs[name], abs=1e-3) for name, values in found.items())
    assert done.choices[0].logprobs.token_logprobs == found["logprob"]


def test_logprobs_are_those_of_the_step_that_wrote_the_token(live: Any, puzzles: Any) -> None:
    done = live.client().completions.create(model="puzzles", prompt=TASK, max_tokens=7, logprobs=0)
    sampler = mdmkit.compose("confidence")
    (row,) = mdmkit.decode(sampler, puzzles, [{"prompt": TASK, "length": 7, "chat": False}]).rows
    found = done.choices[0].logprobs
    assert "".join(found.tokens) == ANSWER and found.text_offset == list(range(7))
    assert found.token_logprobs == pytest.approx([math.log(c) for c in row.trace["confidence"][4:]], abs=1e-4)
    messages: Any = [{"role": "user", "content": TASK}]
    chat = live.client().chat.completions.create(model="puzzles", messages=messages, max_tokens=7, logprobs=True)
    content = chat.choices[0].logprobs.content
    assert [each.logprob for each in content] == pytest.approx(found.token_logprobs, abs=1e-4)
    assert [each.token for each in content] == found.tokens


def test_a_seed_is_chosen_and_said_if_none_is_given(live: Any) -> None:
    asked: dict[str, Any] = {"model": "puzzles", "prompt": "", "max_tokens": 12, "temperature": 3.0}
    first, second = (live.client().completions.create(**asked) for _ in range(2))
    assert first.mdmkit["seed"] != second.mdmkit["seed"] and first.choices[0].text != second.choices[0].text
    again = live.client().completions.create(**asked, seed=first.mdmkit["seed"])
    assert again.choices[0].text == first.choices[0].text


def test_a_request_may_name_its_sampler(live: Any, puzzles: Any) -> None:
    own = {"sampler": "info_gain", "set": {"select.candidates": 3, "plan": {"tokens_per_step": 2}}, "tokens": True}
    done = live.client().completions.create(
        model="puzzles", prompt="_*_=_______", seed=2, temperature=0.5, extra_body={"mdmkit": own}
    )
    sampler = mdmkit.compose(
        "info_gain", select={"candidates": 3}, plan={"tokens_per_step": 2}, draw={"temperature": 0.5}
    )
    (row,) = mdmkit.decode(sampler, puzzles, ["_*_=_______"], seed=2).rows
    assert done.mdmkit["sampler"] == "info_gain"
    assert done.choices[0].mdmkit["tokens"] == row.tokens and done.choices[0].mdmkit["nfe"] == row.nfe


@pytest.mark.parametrize(
    ("preset", "prompt"),
    [
        ("info_gain", "3"),
        ("threshold", "_*_=_______"),
        ("remdm", "3"),
        ("p2", "3"),
        ("edit", "_*_=_______"),
        ("esmc", "3"),
    ],
)
def test_a_stream_of_any_sampler_is_the_text_of_decode(
    live: Any, puzzles: Any, preset: str, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the commit rewrites, if a search moves particles, and if the prompt holds its masks."""
    monkeypatch.setattr(listening, "PAUSE", 0.0)
    asked: dict[str, Any] = {"model": "puzzles", "prompt": prompt, "seed": 4, "temperature": 0.8, "stream": True}
    own = {"sampler": preset, "draft": True, "set": {"plan.block": 4}}
    text, chunks = of_chunks(live.client().completions.create(**asked, extra_body={"mdmkit": own}))
    sampler = mdmkit.compose(preset, plan={"block": 4, "length": 8}, draw={"temperature": 0.8})
    (row,) = mdmkit.decode(sampler, puzzles, [{"prompt": prompt, "chat": False}], seed=4).rows
    assert text == row.text
    assert chunks[-1].choices[0].mdmkit["uncertainty"] == pytest.approx(row.uncertainty, abs=2e-4)
