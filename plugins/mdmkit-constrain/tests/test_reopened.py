"""Commits that open positions again keep the rule, and one that only says so is found out."""

import random
import re
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from mdmkit import Canvas, Commit, MdmkitError, Prompt, Sampler, Write, compose, decode
from mdmkit.testing import ByConfidence, TakeQuota
from mdmkit_constrain.regex import Regex

PRESETS = ("remdm", "remdm_conf", "remdm_loop", "remdm_rescale", "p2", "saber", "wino")
ROWS = [(), (1, 2), (6, 6, 6), (6, 1, 6), (2, 6, 5, 6, 6)]


@pytest.fixture
def reopened(monkeypatch):
    """How many positions each step has opened again."""
    found, open_again = [], Canvas.reopened

    def counted(canvas, place):
        found.append(int((place & ~canvas.open).sum()))
        return open_again(canvas, place)

    monkeypatch.setattr(Canvas, "reopened", counted)
    return found


@pytest.mark.parametrize("preset", PRESETS)
def test_every_text_matches(brute, preset):
    rng, decoded = random.Random(preset), 0
    for number in range(24):
        pattern, length = brute.random_pattern(rng), rng.randint(3, 6)
        plan = {"length": length, "steps": rng.randint(2, length)}
        if rng.random() < 0.4:
            plan |= {"block": rng.randint(2, 3), "steps": None}
        model = brute.Small(seed=number, ends=number % 2 == 0)
        rule = {"name": "regex", "pattern": pattern, "mode": rng.choice(["exact", "mask"])}
        draw = {"temperature": rng.choice([0.0, 1.0])} if preset in ("p2", "saber", "wino") else {}
        sampler = compose(preset, constraint=rule, plan=plan, draw=draw)
        for index, row in enumerate(ROWS):
            prompt = Prompt(ids=row, seed=rng.randrange(1 << 30), index=index)
            canvas = brute.canvas_of(model, [row], length)
            ((start, stop),) = canvas.answers
            if not _possible(brute, model, pattern, canvas, start, stop):
                continue
            (ended,) = decode(sampler, model, [prompt]).rows
            text = model.text(ended.trace["tokens"][start:stop], bool(canvas.infill[0]))
            assert re.fullmatch(pattern, text, re.ASCII), (pattern, text, plan)
            decoded += 1
    assert decoded > 30


LONG = ("(ab|ba|c)*", "(a*b)*c+", "((a|b){3}c)*[ab]{0,2}", "([^b]*b[^b]*b)*[^b]*")


@pytest.mark.parametrize("preset", PRESETS)
def test_longer_texts_of_which_parts_are_opened_again(brute, preset, reopened):
    settings = {"remdm": {"eta": 0.9}, "wino": {"threshold": 1.0}}
    commit = {"commit": {"name": preset, **settings[preset]}} if preset in settings else {}
    for number, pattern in enumerate(LONG):
        for mode in ("exact", "mask"):
            rule = {"name": "regex", "pattern": pattern, "mode": mode}
            sampler = compose(preset, constraint=rule, plan={"length": 20, "steps": 10}, **commit)
            model = brute.Small(seed=number)
            for row in decode(sampler, model, [Prompt(ids=(), seed=i, index=i) for i in range(6)]).rows:
                assert re.fullmatch(pattern, row.text, re.ASCII), (pattern, row.text)
    assert sum(reopened) > 20, sum(reopened)


def _possible(brute, model, pattern, canvas, start, stop):
    tokens, open_ = canvas.tokens[0, start:stop].tolist(), canvas.open[0, start:stop].tolist()
    flat = {(t, i): 0.0 for t in range(stop - start) for i in range(model.vocab)}
    return bool(brute.completions(model, pattern, tokens, open_, flat, bool(canvas.infill[0])))


@dataclass(frozen=True)
class Reopens(Commit):
    """Open random filled positions of the block again, some steps long; and, if it lies, replace a token."""

    rewrites: ClassVar[bool] = True
    only_reopens: ClassVar[bool] = True
    lies: bool = False
    _counted: ClassVar[list] = []

    def __call__(self, step, actions, choice):
        canvas = Write()(step, actions, choice)
        own = step.spread(step.member & step.active[:, None] & step.window(canvas.editable))
        old = own & ~step.canvas.open
        if self.lies:
            return canvas.filled(old, canvas.tokens.masked_fill(old, 2))
        chance = step.noise("reopens", 1)[:, 0] < 0.5
        again = old & step.spread(chance & (step.tick < 6)[:, None])
        self._counted.append(int(again.sum()))
        return canvas.reopened(again)


@pytest.mark.parametrize("mode", ["exact", "mask"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_positions_opened_at_random(brute, mode, temperature):
    """No token that was written in an order of its own is ever in the way."""
    rng, model = random.Random(1), brute.Small(ends=True)
    Reopens._counted.clear()
    for number in range(30):
        pattern = brute.random_pattern(rng)
        canvas = brute.canvas_of(model, [()], 5)
        if not _possible(brute, model, pattern, canvas, 0, 5):
            continue
        sampler = compose(
            "confidence",
            constraint={"name": "regex", "pattern": pattern, "mode": mode},
            plan={"length": 5, "tokens_per_step": rng.randint(1, 3)},
            draw={"temperature": temperature},
        )
        sampler = replace(sampler, commit=Reopens())
        for row in decode(sampler, model, [Prompt(ids=(), seed=number * 9 + i, index=i) for i in range(4)]).rows:
            assert re.fullmatch(pattern, model.text(row.trace["tokens"]), re.ASCII), (pattern, row.trace["tokens"])
    assert sum(Reopens._counted) > 100


def test_a_commit_that_replaces_tokens_although_it_says_not_to_fails(brute):
    sampler = Sampler(ByConfidence(), TakeQuota(), commit=Reopens(lies=True), constraint=Regex("[abc]+"))
    with pytest.raises(MdmkitError, match="Reopens replaced a token, or wrote one that is not of the action"):
        decode(sampler, brute.Small(), [Prompt(ids=(1,))])
