"""What goes wrong in a part before the first step is an error that names the part; a refused prompt stops no other."""

import re
from dataclasses import dataclass
from typing import ClassVar

import pytest

import mdmkit
from mdmkit import Constraint, MdmkitError, Plan, Sampler, Score
from mdmkit.testing import ByConfidence, TakeQuota, ToyBackbone


def _decode(constraint=None, score=None, prompts=([1, 2], [3])):
    sampler = Sampler(score or ByConfidence(), TakeQuota(), constraint=constraint, plan=Plan(length=3))
    return mdmkit.decode(sampler, ToyBackbone(), list(prompts))


@dataclass(frozen=True)
class Free(Constraint):
    def shape(self, logits, states, columns):
        return logits


@pytest.mark.parametrize("method", ["fits", "prepare"])
@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(3), ZeroDivisionError()])
def test_an_exception_in_a_constraint_names_it(method, error):
    def fail(self, *given):
        raise error

    part = dataclass(frozen=True)(type("Odd", (Free,), {method: fail}))()
    with pytest.raises(MdmkitError, match=rf"^constraint Odd failed in {method}: {type(error).__name__}"):
        _decode(part)


def test_an_exception_in_the_check_of_any_part_names_it():
    @dataclass(frozen=True)
    class Odd(Score):
        def fits(self, backbone):
            return {}["x"]

        def __call__(self, step):
            return step.confidence

    with pytest.raises(MdmkitError, match=r"^score Odd failed in fits: KeyError: 'x'\. See the part's own code"):
        _decode(score=Odd())


def test_a_parameter_that_a_class_cannot_take_is_the_classs():
    @dataclass(frozen=True)
    class Odd(Score):
        size: int = 1

        def __post_init__(self):
            {}[self.size]

        def __call__(self, step):
            return step.confidence

    from mdmkit.config.schema import build

    with pytest.raises(MdmkitError, match=r"^score 'odd' cannot be made: KeyError: 1\.$"):
        build(Odd, {}, "score 'odd'", "score")


@pytest.mark.parametrize(
    ("ready", "said"),
    [
        (None, "constraint Odd returned None from prepare; it must return a constraint, with the methods shape and"),
        (3, "constraint Odd returned a int from prepare"),
        ("whole", "constraint Odd returned a constraint from prepare whose trait `whole` is not its own"),
    ],
)
def test_what_prepare_returns_is_checked(ready, said):
    @dataclass(frozen=True)
    class Whole(Free):
        whole: ClassVar[bool] = True

    @dataclass(frozen=True)
    class Odd(Free):
        def prepare(self, backbone, never):
            return Whole() if ready == "whole" else ready

    with pytest.raises(MdmkitError, match=f"^{re.escape(said)}"):
        _decode(Odd())


@pytest.mark.parametrize("why", [False, True, 3])
def test_a_refusal_that_is_no_text_is_the_parts_mistake(why):
    @dataclass(frozen=True)
    class Odd(Free):
        def refuse(self, canvas, answer, rule):
            return why

    with pytest.raises(MdmkitError, match=r"constraint Odd returned a \w+ from refuse; it must return a text, or None"):
        _decode(Odd())


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_a_refused_prompt_stops_none_beside_it(batch):
    @dataclass(frozen=True)
    class NotThree(Free):
        def refuse(self, canvas, answer, rule):
            return "it has a three." if 3 in canvas.tokens[0].tolist() else None

    sampler = Sampler(ByConfidence(), TakeQuota(), constraint=NotThree(), plan=Plan(length=3))
    rows, decoded = [], mdmkit.stream(sampler, ToyBackbone(), [[1, 2], [3], [2], [1, 3]], batch=batch)
    with pytest.raises(MdmkitError, match=r"prompt 1: constraint NotThree: it has a three\."):
        rows.extend(decoded)
    assert [row.index for row in rows] == [0, 2]
