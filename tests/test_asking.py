"""Whatever goes wrong in a model's code or an observer's is one error that names it and its method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Observer, Output, Sampler
from mdmkit.testing import ByConfidence, NoiseToy, TakeQuota, ToyBackbone

GREEDY = Sampler(ByConfidence(), TakeQuota())


@dataclass(frozen=True)
class Reads(ByConfidence):
    reads: ClassVar = ("norm",)


def toy(method, make, base=ToyBackbone, **more):
    """A toy whose `method` returns what `make` makes of its result."""

    def changed(self, *given, **options):
        return make(getattr(base, method)(self, *given, **options))

    return type("Toy", (base,), {method: changed, **more})()


def raises(_):
    raise ValueError("no such layer")


def with_hidden(change):
    return lambda out: replace(out, hidden=change(out.hidden))


def without_extras(out):
    return Output(out.hidden)


class Tells(ToyBackbone):
    """Takes `extras`, and returns none."""

    def forward(self, tokens, valid, conditioning, *, positions, cache=None, extras=(), **more):
        return super().forward(tokens, valid, conditioning, positions=positions, cache=cache, **more)


FAULTS = {
    "forward raises": (toy("forward", raises), "'Toy' failed in forward: ValueError: no such layer"),
    "project raises": (toy("project", raises), "'Toy' failed in project: ValueError: no such layer"),
    "decode raises": (toy("decode", raises), "'Toy' failed in decode: ValueError: no such layer"),
    "decode returns nothing": (toy("decode", lambda out: []), "'Toy' failed in decode: IndexError"),
    "blank raises": (toy("blank", raises, NoiseToy), "'Toy' failed in blank: ValueError: no such layer"),
    "no Output": (
        toy("forward", lambda out: out.hidden),
        "'Toy' returned Tensor from forward, as in the first edition",
    ),
    "a row less": (
        toy("forward", with_hidden(lambda x: x[:-1])),
        r"returned hidden states float32 \[1, \d+, 16\] from forward; they must be \[2, \d+, D\]",
    ),
    "a column less": (toy("forward", with_hidden(lambda x: x[:, :-1])), r"they must be \[2, \d+, D\]"),
    "no D": (toy("forward", with_hidden(lambda x: x[..., 0])), r"returned hidden states float32 \[2, \d+\]"),
    "None": (toy("forward", with_hidden(lambda x: None)), "returned hidden states None"),
    "another V": (
        toy("project", lambda logits: logits[..., :-1]),
        r"returned float32 \[\d, \d+, 12\] from project; it must return logits \[\d, \d+, 13\]",
    ),
    "an unknown kind": (
        type("Toy", (Tells,), {"offers": {"norm": "columns"}})(),
        "offers 'norm': unknown kind of extra 'columns'. Did you mean 'column'",
    ),
    "an extra that is not there": (
        type("Toy", (Tells,), {"offers": {"norm": "row"}})(),
        "offers 'norm', and forward, which was asked for it, did not return it",
    ),
    "an extra with other axes": (
        toy(
            "forward",
            lambda out: replace(out, extra={"norm": out.hidden[:, 0, 0]}),
            Tells,
            offers={"norm": "column"},
        ),
        r"returned the extra 'norm' as float32 \[2\]; an extra of the kind column begins with \[2, \d+\]",
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_model_that_fails_is_named_with_its_method(what):
    model, said = FAULTS[what]
    sampler = replace(GREEDY, score=Reads()) if "norm" in model.offers else GREEDY
    with pytest.raises(MdmkitError, match=said):
        mdmkit.decode(sampler, model, ["ab", "abc"])


def test_a_row_that_the_model_cannot_turn_into_a_text_fails_alone():
    class Shy(ToyBackbone):
        def decode(self, canvas):
            if int(canvas.lengths[0]) == 5:
                raise ValueError("no text")
            return super().decode(canvas)

    rows = []
    asked = [{"prompt": "ab", "length": n} for n in (2, 3, 4)]
    with pytest.raises(MdmkitError, match="'Shy' failed in decode: ValueError: no text"):
        rows.extend(row.index for row in mdmkit.stream(GREEDY, Shy(), asked))
    assert rows == [0, 2]


@pytest.mark.parametrize("name", ["on_start", "on_admit", "on_step", "on_leave"])
def test_an_observer_that_fails_is_named_with_its_method(name):
    watching = type("Watching", (Observer,), {name: lambda self, *what: 1 / 0})()
    with pytest.raises(MdmkitError, match=f"observer Watching failed in {name}: ZeroDivisionError"):
        mdmkit.decode(GREEDY, ToyBackbone(), ["ab"], observers=[watching])


def test_a_misspelt_method_of_an_observer_is_refused():
    watching = type("Watching", (Observer,), {"on_stepp": lambda self, *what: None})()
    with pytest.raises(MdmkitError, match=r"Watching: unknown method 'on_stepp'\. Did you mean 'on_step'"):
        mdmkit.decode(GREEDY, ToyBackbone(), ["ab"], observers=[watching])


def test_the_models_own_memory_error_is_not_one_of_its_code():
    small = toy("forward", lambda out: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(MdmkitError, match="out of GPU memory with 1 row of"):
        mdmkit.decode(GREEDY, small, ["ab"])
