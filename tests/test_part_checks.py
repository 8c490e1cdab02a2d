"""A part that the loop would misread is refused when its sampler is composed; the error names the nearest name."""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from functools import cached_property, partial
from typing import ClassVar

import pytest
import torch

import mdmkit
from mdmkit import Commit, Constraint, Lookahead, MdmkitError, Plan, Sampler, Score, Search, Select, Stop, testing
from mdmkit.testing import ByConfidence, TakeQuota, ToyBackbone

HOMES = {
    "score": Score,
    "select": Select,
    "lookahead": Lookahead,
    "commit": Commit,
    "search": Search,
    "stop": Stop,
    "constraint": Constraint,
}


def does_nothing(self, *inputs):
    return None


def part(kind, *, duck=False, bases=None, hints=None, **body):
    """A frozen dataclass of this kind that has every method it needs, and `body`."""
    methods = dict.fromkeys(("__call__", "move", "best", "shape", "settle"), does_nothing)
    bases = bases or (() if duck else (HOMES[kind],))
    made = type("Mine", bases, {**methods, "__annotations__": hints or {}, **body})
    return dataclass(frozen=True)(made)()


def composed(**parts):
    return Sampler(**{"score": ByConfidence(), "select": TakeQuota(), **parts})


def refusal(kind, stage):
    with pytest.raises(MdmkitError) as told:
        composed(**{kind: stage})
    text = str(told.value)
    assert "\n" not in text and text.startswith(f"{kind} ")
    return text


@pytest.mark.parametrize("duck", [False, True])
@pytest.mark.parametrize("value", [0.5, [1], {"a": 1}, {1}, frozenset({"a"}), None, 2, True, "yes", (1,), object()])
def test_a_constant_that_nothing_reads(value, duck):
    text = refusal("commit", part("commit", duck=duck, rewrite=value))
    assert "commit Mine has the constant 'rewrite', which nothing reads. Did you mean 'rewrites'?" in text
    assert "grows, lingers, only_reopens, reads, rewrites" in text


def test_what_a_class_may_hold_beside_its_traits():
    class Inner:
        depth = 3

    class Rich(Score):
        top: int = 3
        only_now: InitVar[int] = 2
        _table: ClassVar[dict] = {}
        Nested = Inner
        halved = partial(pow, 2)

        def __call__(self, step):
            return step.confidence

        def helper(self):
            return self

        @property
        def width(self):
            return 1

        @cached_property
        def rank(self):
            return 1

        @staticmethod
        def plain():
            return 1

        @classmethod
        def load(cls):
            return cls()

    Rich.__annotations__ = {"top": int, "only_now": InitVar[int]}
    assert composed(score=dataclass(frozen=True)(Rich)()).score.top == 3


def test_a_function_and_a_module_of_torch_are_scores_too():
    class Learned(Score, torch.nn.Module):
        def forward(self, step):
            return step.confidence

        def __call__(self, step):
            return self.forward(step)

    for score in (lambda step: step.confidence, Learned()):
        assert mdmkit.decode(composed(score=score, plan=Plan(length=3)), ToyBackbone(), ["ab"]).nfe["rows"] == 3


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("stop", {"fill": "bset"}, "unknown fill 'bset'. Did you mean 'best'? Known: best, leave."),
        ("stop", {"fill": 1}, "must be of type str"),
        ("select", {"alternatives": 0}, "alternatives is 0: it must be at least 1"),
        ("select", {"alternatives": -1}, "alternatives is -1: it must be at least 1"),
        ("select", {"alternatives": property(lambda self: 0)}, "alternatives is 0: it must be at least 1"),
        ("select", {"alternatives": "2"}, "must be of type int"),
        ("search", {"particles": 0}, "particles is 0: it must be at least 1"),
        ("commit", {"lingers": -1, "rewrites": True}, "lingers is -1: it must be at least 0"),
        ("score", {"reads": (1,)}, "reads is (1,): it must be a tuple of names"),
        ("score", {"reads": ("",)}, "reads is ('',): it must be a tuple of names"),
        ("score", {"reads": "attention"}, "reads is 'attention': it must be a tuple of names, as in ('attention',)"),
        ("lookahead", {"reads": ["attention"]}, "reads is ['attention']: it must be a tuple of names"),
        ("commit", {"lingers": 3}, "lingers is 3 and its trait rewrites is False: write rewrites = True"),
        ("commit", {"grows": True}, "grows is True and its trait rewrites is False: write rewrites = True"),
    ],
)
@pytest.mark.parametrize("duck", [False, True])
def test_a_trait_whose_value_the_loop_cannot_use(kind, body, said, duck):
    assert said in refusal(kind, part(kind, duck=duck, **body))


def test_a_trait_that_cannot_be_read_does_not_become_its_default():
    text = refusal("select", part("select", alternatives=property(lambda self: self.widht)))
    assert "select Mine.alternatives cannot be read: AttributeError" in text and "widht" in text


@pytest.mark.parametrize(
    ("kind", "field", "trait"),
    [
        ("commit", "rewritse", "rewrites"),
        ("select", "alternative", "alternatives"),
        ("search", "particle", "particles"),
    ],
)
def test_a_misspelt_trait_among_the_parameters(kind, field, trait):
    text = refusal(kind, part(kind, hints={field: int}, **{field: 1}))
    assert f"{kind} Mine has the parameter {field!r}. Did you mean the trait {trait!r}?" in text


def test_a_misspelt_trait_set_on_the_object():
    class Plain:
        def __init__(self):
            self.rewritse = True

        __call__ = does_nothing

    assert "Did you mean the trait 'rewrites'?" in refusal("commit", Plain())


def test_parameters_that_are_no_traits():
    names = ("reach", "radius", "least", "weight", "fields", "rows", "linear", "filling", "alternate")
    for kind in HOMES:
        composed(**{kind: part(kind, hints=dict.fromkeys(names, int), **dict.fromkeys(names, 1))})


class Misspells:
    rewrite = True


class Rewrites:
    rewrites = True


class Prunes:
    def prune(self, step, actions):
        return actions


@pytest.mark.parametrize("bases", [(Misspells, Commit), (Commit, Misspells)])
def test_a_constant_of_a_mixin(bases):
    assert "has the constant 'rewrite', which nothing reads" in refusal("commit", part("commit", bases=bases))


@pytest.mark.parametrize(("kind", "mixin", "name"), [("commit", Rewrites, "rewrites"), ("search", Prunes, "prune")])
def test_a_mixin_that_the_base_class_hides(kind, mixin, name):
    home = HOMES[kind]
    text = refusal(kind, part(kind, bases=(home, mixin)))
    assert f"{mixin.__name__}.{name} has no effect" in text
    assert f"class Mine({mixin.__name__}, {home.__name__})" in text
    composed(**{kind: part(kind, bases=(mixin, home))})


def test_a_subclass_may_take_a_trait_back():
    rewriting = part("commit", rewrites=True, lingers=2)
    calm = type("Calm", (type(rewriting),), {"rewrites": False, "lingers": 0})
    assert not composed(commit=calm()).commit.rewrites


@pytest.mark.parametrize("duck", [False, True])
@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("search", "prun", "prune"),
        ("constraint", "settel", "settle"),
        ("constraint", "shapes", "shape"),
        ("search", "moev", "move"),
        ("search", "bets", "best"),
        ("score", "fit", "fits"),
    ],
)
def test_a_misspelt_method(kind, wrong, right, duck):
    methods = ("move", "best") if kind == "search" else ("shape", "settle") if kind == "constraint" else ("__call__",)
    body = dict.fromkeys([wrong, *(name for name in methods if name != right)], does_nothing)
    made = dataclass(frozen=True)(type("Mine", () if duck else (HOMES[kind],), body))()
    text = refusal(kind, made)
    assert f"{kind} Mine has the method {wrong!r}, which the loop does not call. Did you mean {right!r}?" in text


def test_a_method_beside_the_real_one():
    composed(search=part("search", prune=does_nothing, pruned=does_nothing, moves=does_nothing))


class Empty:
    pass


@pytest.mark.parametrize(
    ("kind", "lacks"),
    [(kind, "__call__") for kind in ("score", "select", "lookahead", "commit", "stop")]
    + [("search", "move"), ("constraint", "shape")],
)
def test_a_part_without_a_method_that_the_loop_calls(kind, lacks):
    inherits = type("Empty", (HOMES[kind],), {})
    for stage in (Empty(), inherits(), 3):
        text = refusal(kind, stage)
        assert f"{type(stage).__name__} has no method {lacks}: a {kind} needs " in text


def test_a_search_without_best_and_a_constraint_that_inherits_settle():
    half = type("Half", (Search,), {"move": does_nothing})
    assert "has no method best: a search needs move and best" in refusal("search", half())
    shapes = type("Shapes", (), {"shape": does_nothing})
    assert "has no method settle" in refusal("constraint", shapes())
    composed(constraint=type("Shapes", (Constraint,), {"shape": does_nothing})())


def test_a_class_in_place_of_an_instance():
    assert "is the class ByConfidence: give an instance of it, ByConfidence()" in refusal("score", ByConfidence)


def test_compose_refuses_the_same_and_names_the_distribution_of_an_installed_part():
    with pytest.raises(MdmkitError, match=r"^select Mine.alternatives is '2': it must be of type int"):
        mdmkit.compose("info_gain", select=part("select", alternatives="2"))


@pytest.mark.parametrize("kind", HOMES)
def test_the_contract_suite_of_each_kind_makes_the_same_checks(kind):
    suite = getattr(testing, f"{kind.title()}Contract")
    for body in ({"reads": ("",)}, {"reed": None}, {"fit": does_nothing}):
        own = {"make": lambda self, body=body: part(kind, **body)}
        with pytest.raises(pytest.fail.Exception, match=f"{kind} Mine"):
            type("Suite", (suite,), own)().test_its_constants_are_traits_of_its_kind()
