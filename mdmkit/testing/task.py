"""The contract of a task: the prompts depend on the seed only, and the judge can read any answer."""

from __future__ import annotations

import copy
import inspect
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from mdmkit.canvas.prompt import Prompt
from mdmkit.config.compose import compose
from mdmkit.decoding.prompts import read_prompts
from mdmkit.errors import MdmkitError
from mdmkit.task import REFERENCE, Task, make_task, read_verdict, without_reference
from mdmkit.testing.contract import Contract
from mdmkit.testing.reference import ByConfidence, TakeQuota

SEEDS = range(4)


class TaskContract(Contract):
    """Set `component` to the class and `options` to the options that it needs, or define `make`.

    Define `right(prompt)` so that a right answer is judged too. Define `solved(scores)` if a right answer does not
    score 1. `count` prompts are drawn at a time: it must be smaller than the number of the task's prompts. `nonsense`
    holds wrong answers; set images here if the task's answers are images.
    """

    component: ClassVar[Any] = None
    options: Mapping[str, Any] = {}
    count: ClassVar[int] = 4
    nonsense: ClassVar[Sequence[Any]] = ("", " \n", "?", "No idea: 1 (2 [3 {4, or 5/0 = \\boxed{6.")

    def make(self) -> Any:
        """Build the task under test."""
        assert self.component is not None, f"{type(self).__name__}: set `component`, or define `make`"
        return make_task(self.component, type(self).__name__, self.options)

    def right(self, prompt: Any) -> Any:
        """Return a right answer to one of the task's prompts."""
        raise NotImplementedError

    def solved(self, scores: Mapping[str, float]) -> bool:
        """Return True if an answer with these scores is right."""
        return scores["score"] >= 1

    def test_gives_as_many_prompts_as_asked_for(self) -> None:
        task = self.make()
        every = task.prompts(None if isinstance(task, Task) else getattr(task, "limit", Task.limit), 0)
        assert len(every), "a task has at least one prompt"
        for count in (1, self.count):
            found = len(task.prompts(count, 0))
            assert found <= count, f"{count} prompts were asked for, and {found} came"
            assert found == min(count, len(every)), f"of {count} prompts only {found} came, and there are more"

    def test_same_seed_gives_the_same_prompts(self) -> None:
        for seed in SEEDS:
            drawn = [_seen(items) for _, items in _under_two_global_seeds(lambda s=seed: self._draw(s))]
            assert drawn[0] == drawn[1], f"seed {seed} gives other prompts the second time: draw from the seed alone"

    def test_another_seed_gives_other_prompts(self) -> None:
        first, *others = (_seen(self._draw(seed)[1]) for seed in SEEDS)
        if any(other != first for other in others):
            return
        try:
            more = _seen(self.make().prompts(2 * self.count, 0))
        except MdmkitError:
            return  # the task has no more prompts
        assert all(prompt in first for prompt in more), "every seed gives the same prompts, though there are others"

    def test_prompts_are_what_decode_takes(self) -> None:
        for item in self._draw(0)[1]:
            try:
                read_prompts([without_reference(item)], 0)
            except MdmkitError as error:
                pytest.fail(f"mdmkit.decode refuses a prompt of the task: {error}")

    def test_the_reference_never_reaches_the_model(self) -> None:
        for item in self._draw(0)[1]:
            if not isinstance(item, Mapping):
                continue
            reference = item.get(REFERENCE)
            (read,) = read_prompts([without_reference(item)], 0)
            said = [read.system, read.suffix, read.messages, read.chat_options, read.inputs]
            for key, value in _leaves(said):
                assert key != REFERENCE, f"{REFERENCE!r} is inside of what the model gets: put it into the prompt's own"
                if reference:
                    assert value is not reference and (not isinstance(reference, str) or value != reference), (
                        f"the model gets the reference {reference!r} as {key or 'a text'!r}"
                    )

    def test_every_verdict_is_finite_numbers(self) -> None:
        task, items = self._draw(0)
        for item in items:
            for answer in self._answers(item):
                for name, number in self._verdict(task, item, answer).items():
                    assert math.isfinite(number), f"{name} is {number} for the answer {answer!r}"

    def test_the_same_answer_gets_the_same_verdict(self) -> None:
        task, items = self._draw(0)
        for item in items:
            before = copy.deepcopy(item)
            for answer in self._answers(item):
                one, two = _under_two_global_seeds(lambda i=item, a=answer: self._verdict(task, i, a))
                assert repr(one) == repr(two), f"the answer {answer!r} is judged {one}, then {two}"
            assert _seen([item]) == _seen([before]), "the judge writes into the prompt"

    def test_no_answer_and_nonsense_are_not_solved(self) -> None:
        task, items = self._draw(0)
        for item in items:
            for answer in self.nonsense:
                scores = self._verdict(task, item, answer)
                assert not self.solved(scores), f"the answer {answer!r} counts as right: {scores}"

    def test_the_right_answer_is_solved(self) -> None:
        if not self._knows_right:
            pytest.skip("define right(self, prompt) to have a right answer judged")
        task, items = self._draw(0)
        for item in items:
            answer = self.right(item)
            scores = self._verdict(task, item, answer)
            assert self.solved(scores), f"the right answer {answer!r} to {item!r} counts as wrong: {scores}"

    def test_an_unknown_option_is_refused_by_name(self) -> None:
        cls = self._class()
        kinds = [parameter.kind for parameter in inspect.signature(cls).parameters.values()]
        assert inspect.Parameter.VAR_KEYWORD not in kinds, "**options takes every word: name each option"
        for option in self._options() or ["nothing"]:
            with pytest.raises(MdmkitError) as caught:
                make_task(cls, "under test", {**self.options, f"{option}_": 1})
            assert f"{option}_" in str(caught.value)
            assert option not in self._options() or f"Did you mean {option!r}?" in str(caught.value)

    def test_says_what_it_is(self) -> None:
        task = self.make()
        measure, answers, places = (
            getattr(task, name, getattr(Task, name)) for name in ("measure", "answers", "places")
        )
        assert isinstance(measure, str) and measure, "measure says in a word or two what a score is"
        assert answers in ("text", "image"), f"answers is 'text' or 'image', not {answers!r}"
        strange = set(places) - set(self._options())
        assert not strange, f"places are options, and {sorted(strange)} are none"

    def test_settings_suit_a_sampler(self) -> None:
        settings = {name: dict(section) for name, section in getattr(self.make(), "settings", {}).items()}
        try:
            compose(config=settings, score=ByConfidence(), select=TakeQuota())
        except MdmkitError as error:
            pytest.fail(f"no sampler takes the task's settings: {error}")

    @property
    def _knows_right(self) -> bool:
        return type(self).right is not TaskContract.right

    def _answers(self, item: Any) -> list[Any]:
        """Answers to judge: nonsense, the prompt with and without its masks, and the right answer if there is one."""
        (read,) = read_prompts([without_reference(item)], 0)
        echoes = [read.text, read.text.replace("_", "")] if isinstance(self.nonsense[0], str) and read.text else []
        return [*self.nonsense, *echoes, *([self.right(item)] if self._knows_right else [])]

    def _draw(self, seed: int) -> tuple[Any, list[Any]]:
        task = self.make()
        return task, list(task.prompts(self.count, seed))

    def _class(self) -> Any:
        return self.component if isinstance(self.component, type) else type(self.make())

    def _options(self) -> list[str]:
        named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return [p.name for p in inspect.signature(self._class()).parameters.values() if p.kind in named]

    def _verdict(self, task: Any, item: Any, answer: Any) -> dict[str, float]:
        try:
            return read_verdict(task.judge(item, answer))
        except Exception as error:
            return pytest.fail(f"the judge stops at the answer {answer!r}: {type(error).__name__}: {error}")


def _under_two_global_seeds(call: Any) -> list[Any]:
    """Call twice, with other global random numbers each time."""
    python, tensor, results = random.getstate(), torch.random.get_rng_state(), []
    try:
        for seed in (11, 12):
            random.seed(seed)
            torch.manual_seed(seed)
            results.append(call())
    finally:
        random.setstate(python)
        torch.random.set_rng_state(tensor)
    return results


def _seen(items: Sequence[Any]) -> list[tuple[Prompt, str]]:
    """The prompts as they are read, without seed and index, each with its reference."""
    read = [replace(prompt, seed=0, index=0) for prompt in read_prompts([without_reference(item) for item in items], 0)]
    return [
        (prompt, repr(item.get(REFERENCE)) if isinstance(item, Mapping) else "")
        for prompt, item in zip(read, items, strict=True)
    ]


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value inside nested mappings and sequences, with its innermost key."""
    yield key, value
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner, key)
