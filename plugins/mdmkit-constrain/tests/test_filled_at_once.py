"""Stop rules that fill what is left in one step: the tokens are chosen together, as in any other step."""

import random
import re
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import pytest
import torch

from mdmkit import MdmkitError, Prompt, Stop, compose, decode
from mdmkit_constrain.regex import Regex

LONG = ("(ab|ba|c)*", "(a*b)*c+", "((a|b){3}c)*[ab]{0,2}", "([^b]*b[^b]*b)*[^b]*")


@dataclass(frozen=True)
class After(Stop):
    """End each row after some steps."""

    fill: ClassVar[Literal["best"]] = "best"
    ticks: int = 1

    def __call__(self, step):
        return step.open.any(1) & (step.tick >= self.ticks)


@pytest.mark.parametrize("sampler", ["confidence", "info_gain", "beam", "remdm"])
@pytest.mark.parametrize("mode", ["exact", "mask"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_text_matches(brute, sampler, mode, temperature):
    rng, decoded, at_once = random.Random(f"{sampler}{mode}"), 0, 0
    rows = [(), (1, 2), (6, 6, 6), (6, 1, 6), (2, 6, 5, 6, 6)]
    for number in range(20):
        pattern, length = brute.random_pattern(rng), rng.randint(3, 5)
        model = brute.Small(seed=number, ends=number % 2 == 0)
        plan = {"length": length, "steps": length, **({"block": 2, "steps": None} if number % 3 == 0 else {})}
        made = compose(
            sampler,
            constraint={"name": "regex", "pattern": pattern, "mode": mode},
            plan=plan,
            draw={"temperature": temperature},
        )
        made = replace(made, stop=After(rng.randint(1, 3)))
        fits = [row for row in rows if _possible(brute, model, pattern, row, length)]
        prompts = [Prompt(ids=row, seed=i, index=i) for i, row in enumerate(fits)]
        for prompt, row in zip(prompts, decode(made, model, prompts).rows, strict=True):
            canvas = brute.canvas_of(model, [prompt.ids], length)
            ((start, stop),) = canvas.answers
            text = model.text(row.trace["tokens"][start:stop], bool(canvas.infill[0]))
            assert re.fullmatch(pattern, text, re.ASCII), (pattern, text, plan)
            decoded += 1
            at_once += row.stopped == "After"
    assert decoded > 25 and at_once > 10, (decoded, at_once)


def _possible(brute, model, pattern, row, length):
    canvas = brute.canvas_of(model, [row], length)
    ((start, stop),) = canvas.answers
    tokens, open_ = canvas.tokens[0, start:stop].tolist(), canvas.open[0, start:stop].tolist()
    flat = {(t, i): 0.0 for t in range(stop - start) for i in range(model.vocab)}
    return bool(brute.completions(model, pattern, tokens, open_, flat, bool(canvas.infill[0])))


@pytest.mark.parametrize("preset", ["prophet", "sched"])
def test_the_presets(brute, preset):
    ended = 0
    for number, pattern in enumerate(LONG):
        for mode in ("exact", "mask"):
            rule = {"name": "regex", "pattern": pattern, "mode": mode}
            eager = {"early": 0.0, "middle": 0.0, "late": 0.0} if preset == "prophet" else {"high": 0.0, "low": 0.0}
            made = compose(preset, constraint=rule, plan={"length": 16}, stop={"name": preset, **eager})
            model = brute.Small(seed=number)
            for row in decode(made, model, [Prompt(ids=(), seed=i, index=i) for i in range(4)]).rows:
                assert re.fullmatch(pattern, row.text, re.ASCII), (pattern, row.text)
                ended += row.stopped == preset
    assert ended > 20


def test_they_are_the_tokens_of_the_most_probable_answer(brute):
    """The first step fills one position; what is left is filled as under the whole answer with the largest weight."""
    model, pattern = brute.Small(independent=True), "(ab|ba|c){2,4}a?"
    made = replace(compose("left_to_right", constraint=Regex(pattern), plan={"length": 5, "steps": 5}), stop=After(1))
    (row,) = decode(made, model, [Prompt(ids=())]).rows
    tokens = row.trace["tokens"]
    assert sorted(row.order) == [0, 1, 1, 1, 1]
    first = row.order.index(0)
    (known,) = (tokens[first],)
    logits = model.project(model._places(torch.arange(5)[None]))[0]
    given = [known if t == first else model.mask_id for t in range(5)]
    found = brute.completions(model, pattern, given, [t != first for t in range(5)], logits)
    assert tuple(tokens) == max(found, key=found.get)


def test_rules_that_leave_positions_open_are_refused(brute):
    @dataclass(frozen=True)
    class Leaves(Stop):
        def __call__(self, step):
            return step.open.any(1)

    made = compose("confidence", plan={"length": 4})
    with pytest.raises(MdmkitError, match="stop 'Leaves' leaves positions of the answer open"):
        replace(made, constraint=Regex("[ab]*"), stop=Leaves())
