"""The suite of tasks holds for a task that keeps the laws, and each broken task fails the test of its law alone."""

from __future__ import annotations

import itertools
import random
from typing import ClassVar

import pytest

from mdmkit import Task
from mdmkit.testing import TaskContract


class Letters(Task):
    """Sort letters: the prompt holds three, the answer has them in order."""

    def __init__(self, alphabet: str = "abcdefghij"):
        self.alphabet = alphabet

    def prompts(self, count, seed):
        rng = random.Random(seed)
        return [self.ask("".join(rng.sample(self.alphabet, 3))) for _ in range(self.limit if count is None else count)]

    def ask(self, word):
        return {"prompt": f"{word}___", "reference": "".join(sorted(word))}

    def judge(self, prompt, answer):
        return answer == prompt["prompt"].rstrip("_") + prompt["reference"]


class LettersContract(TaskContract):
    component = Letters

    def right(self, prompt):
        return prompt["prompt"].rstrip("_") + prompt["reference"]


class TestLetters(LettersContract):
    pass


class TestFewLetters(LettersContract):
    options: ClassVar = {"alphabet": "abcd"}


class OnePrompt(Letters):
    """There is one prompt, so seeds cannot differ."""

    def prompts(self, count, seed):
        return [self.ask("cab")]


class TestOnePrompt(LettersContract):
    component = OnePrompt


class Plain:
    """No subclass of `Task`: two methods will do, and `count` is never None."""

    def prompts(self, count, seed):
        rng = random.Random(seed)
        return ["".join(rng.sample("abcdefghij", 4)) + "_" for _ in range(count)]

    def judge(self, prompt, answer):
        return {"score": answer == prompt.replace("_", "a"), "length": len(answer)}


class TestPlain(TaskContract):
    component = Plain


class OneTooMany(Letters):
    def prompts(self, count, seed):
        return super().prompts(count and count + 1, seed)


class OneTooFew(Letters):
    def prompts(self, count, seed):
        return super().prompts(count and max(1, count - 1), seed)


class RollsGlobalDice(Letters):
    def prompts(self, count, seed):
        return super().prompts(count, random.random())


class CountsItsCalls(Letters):
    calls = itertools.count()

    def prompts(self, count, seed):
        return super().prompts(count, next(self.calls))


class IgnoresTheSeed(Letters):
    def prompts(self, count, seed):
        return super().prompts(count, 0)


class NamesItAnswer(Letters):
    def ask(self, word):
        return {"prompt": f"{word}___", "answer": word}

    def judge(self, prompt, answer):
        return False


class ShowsTheReference(Letters):
    def ask(self, word):
        asked = super().ask(word)
        return asked | {"chat_options": {"hint": asked["reference"]}}


class CarriesAReference(Letters):
    def ask(self, word):
        return super().ask(word) | {"inputs": {"reference": 1}}


class SaysNotANumber(Letters):
    def judge(self, prompt, answer):
        return {"score": super().judge(prompt, answer), "length": float("nan")}


class TossesACoin(Letters):
    def judge(self, prompt, answer):
        return {"score": super().judge(prompt, answer), "luck": random.random()}


class WritesIntoThePrompt(Letters):
    def judge(self, prompt, answer):
        verdict = super().judge(prompt, answer)
        prompt["reference"] = prompt["reference"].rstrip("!") + "!"
        return verdict


class TakesAnything(Letters):
    def judge(self, prompt, answer):
        return answer.strip() == "" or super().judge(prompt, answer)


class NeverPleased(Letters):
    def judge(self, prompt, answer):
        return False


class TakesEveryOption(Letters):
    def __init__(self, alphabet="abcdefghij", **options):
        super().__init__(alphabet)


class PlacedNowhere(Letters):
    places = ("data",)


class MeasuresNothing(Letters):
    measure = ""


class SetsTheLenght(Letters):
    settings: ClassVar = {"plan": {"lenght": 3}}


BROKEN = {
    OneTooMany: "test_gives_as_many_prompts_as_asked_for",
    OneTooFew: "test_gives_as_many_prompts_as_asked_for",
    RollsGlobalDice: "test_same_seed_gives_the_same_prompts",
    CountsItsCalls: "test_same_seed_gives_the_same_prompts",
    IgnoresTheSeed: "test_another_seed_gives_other_prompts",
    ShowsTheReference: "test_the_reference_never_reaches_the_model",
    CarriesAReference: "test_the_reference_never_reaches_the_model",
    SaysNotANumber: "test_every_verdict_is_finite_numbers",
    TossesACoin: "test_the_same_answer_gets_the_same_verdict",
    WritesIntoThePrompt: "test_the_same_answer_gets_the_same_verdict",
    TakesAnything: "test_no_answer_and_nonsense_are_not_solved",
    NeverPleased: "test_the_right_answer_is_solved",
    TakesEveryOption: "test_an_unknown_option_is_refused_by_name",
    PlacedNowhere: "test_says_what_it_is",
    MeasuresNothing: "test_says_what_it_is",
    SetsTheLenght: "test_settings_suit_a_sampler",
}


@pytest.mark.parametrize(("task", "law"), BROKEN.items(), ids=[task.__name__ for task in BROKEN])
def test_a_broken_task_fails_the_test_of_its_law_alone(task, law, broken_laws):
    assert broken_laws(type("Suite", (LettersContract,), {"component": task})()) == [law]


class StopsAtNothing(Letters):
    def judge(self, prompt, answer):
        return answer[0] in "abc" and super().judge(prompt, answer)


class SaysYes(Letters):
    def judge(self, prompt, answer):
        return "yes" if super().judge(prompt, answer) else "no"


class StopsAtThePrompt(Letters):
    def judge(self, prompt, answer):
        asked = prompt["prompt"].rstrip("_")
        return answer.startswith(asked) and answer[len(asked)] >= "a" and super().judge(prompt, answer)


@pytest.mark.parametrize("task", [StopsAtNothing, SaysYes])
def test_a_judge_that_raises_or_says_no_verdict_is_named_with_the_answer(task):
    suite = type("Suite", (LettersContract,), {"component": task})()
    with pytest.raises(pytest.fail.Exception, match=r"the judge stops at the answer ''"):
        suite.test_every_verdict_is_finite_numbers()


def test_a_judge_is_given_its_prompt_back():
    suite = type("Suite", (LettersContract,), {"component": StopsAtThePrompt})()
    with pytest.raises(pytest.fail.Exception, match=r"the judge stops at the answer '[a-j]{3}': IndexError"):
        suite.test_every_verdict_is_finite_numbers()


def test_a_prompt_that_decode_refuses_is_shown_with_the_reason():
    suite = type("Suite", (LettersContract,), {"component": NamesItAnswer})()
    with pytest.raises(pytest.fail.Exception, match="unknown key 'answer'"):
        suite.test_prompts_are_what_decode_takes()


def test_options_of_the_author_are_passed():
    prompts = TestFewLetters().make().prompts(9, 0)
    assert all(set(prompt["reference"]) <= set("abcd") for prompt in prompts)
