"""Random patterns, schemas and choices under drawn settings: every text keeps its rule, and no possible one is refused.

A part of each is in every run of the suite. `make test-slow` has all: 300 patterns, 60 schemas and 40 choices, each
under four drawn settings, and 20 rules under every setting of a grid.
"""

import itertools
import json
import random
import re
from datetime import datetime, time
from pathlib import Path

import jsonschema
import pytest
from drawn_rules import byte_level, golden, pattern, possible, sample

import mdmkit
from mdmkit_constrain.json_schema import JsonSchema

SCHEMAS = json.loads((Path(__file__).parent / "schemas.json").read_text())
SAMPLERS = (
    "dawn",  # it reads attention, which only checkpoints offer
    *("beam", "best_of_n", "block_refinement", "confidence", "credit", "dus", "ebon", "entropy"),
    *("entropy_bound", "esmc", "factor", "frechet", "frontier", "future_entropy", "igfd", "info_gain"),
    *("info_gain_plus", "klass", "left_to_right", "less", "linear_position", "local_leap", "lookum", "lookum_smc"),
    *("lopa", "margin", "mean_field", "med", "random", "slow_fast", "spaced", "threshold"),
)
CACHES = {"llada": ("none", "prefix", "dual"), "sdar": ("none", "block"), "bytes": ("none",), "bigram": ("none",)}
DRAWS = (
    {},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_p": 0.3},
    {"temperature": 1.5, "top_k": 1},
    {"temperature": 1.0, "repetition_penalty": 1.8, "penalty": {66: 9.0, 3: -4.0}, "suppress": [17, 18, 40]},
    {"temperature": 1.0, "temperature_end": 0.0, "end_penalty": 4.0},
)
FORMATS = jsonschema.FormatChecker(("date", "email", "ipv4", "uuid"))
FORMATS.checkers = {
    **FORMATS.checkers,
    "date-time": (datetime.fromisoformat, ValueError),
    "time": (time.fromisoformat, ValueError),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    found = {name: golden(name, folder) for name in ("llada", "sdar")}
    return {**found, "bytes": byte_level(), "bigram": mdmkit.load("zoo:bigram")}


class Tried:
    """Decodes rules under settings, and judges every text.

    Attributes:
        decoded, refused: how many decodes were asked for, and how many of them were refused.
        wrong: what broke its rule, stayed open, failed, or was refused although it is possible.
    """

    def __init__(self, models):
        self.models, self.decoded, self.refused, self.wrong = models, 0, 0, []

    def decode(self, rule, judge, impossible, prompt, model, sampler, cache, plan, draw, mode):
        """Two rows of a prompt; `prompt` is (text before, row of open and given characters, text behind)."""
        before, row, behind = prompt
        infill = None not in row or behind is not None
        asked = before + "".join("[MASK:1]" if c is None else c for c in row) + behind if infill else before
        self.decoded += 1
        case = (rule, prompt, model, sampler, cache, plan, draw, mode)
        try:
            composed = mdmkit.compose(sampler, constraint={**rule, "mode": mode}, plan=plan, draw=draw, cache=cache)
            found = mdmkit.decode(composed, self.models[model], [asked] * 2, seed=self.decoded).rows
        except mdmkit.MdmkitError as error:
            if re.search("keep|breaks", str(error)) and impossible(infill):
                self.refused += 1
            else:
                self.wrong.append((case, str(error)))
            return
        for each in found:
            text = each.text[len(before) : len(each.text) - len(behind)] if infill else each.text
            if not judge(text) or self.models[model].mask_id in each.trace["tokens"]:
                self.wrong.append((case, each.text))


def settings(rng, model, lengths):
    """Draw what a decode is asked for."""
    plan = {"length": rng.choice(lengths)}
    if rng.random() < 0.5:
        plan["block"] = rng.choice((2, 4) if model == "sdar" else (4, 8))
    if rng.random() < 0.6:
        plan["tokens_per_step"] = rng.randint(1, 4)
    samplers = SAMPLERS if model in ("llada", "sdar") else SAMPLERS[1:]
    drawn = {"model": model, "sampler": rng.choice(samplers), "cache": rng.choice(CACHES[model])}
    return {**drawn, "plan": plan, "draw": rng.choice(DRAWS), "mode": rng.choice(["exact", "mask"])}


def gaps(rng, text):
    """Masks for a text, and some of it between them; one in four has a mask too many."""
    first, second = sorted(rng.choices(range(1, len(text)), k=2))
    more = [None] * (rng.random() < 0.25)
    return "ask ", [*[None] * first, *text[first:second], *[None] * (len(text) - second), *more], "!"


def tried_pattern(tried, rng, rule, text, judge, count, lengths, infills=0.25):
    """Decode a rule whose texts match the pattern `text`, under `count` drawn settings."""
    for _ in range(count):
        drawn = settings(rng, rng.choice(("llada", "sdar", "bytes")), lengths)
        model = tried.models[drawn["model"]]
        held = sample(text, rng) if rng.random() < infills else None
        row = [None] * drawn["plan"]["length"]
        prompt = gaps(rng, held) if held and len(held) > 1 else (rng.choice(["ask", "a longer one"]), row, None)

        def impossible(infill, row=prompt[1], model=model, drawn=drawn):
            allowed = (t for i, t in enumerate(model.texts()) if t and i not in drawn["draw"].get("suppress", ()))
            return not possible(text, row, allowed, ends=not infill)

        tried.decode(rule, judge, impossible, prompt, **drawn)


def tried_schema(tried, rng, schema, count):
    judge = jsonschema.Draft202012Validator(schema, format_checker=FORMATS)
    rule = {"name": "json_schema", "schema": schema, "depth": 1}
    made = JsonSchema(schema, depth=1).pattern

    def fits(text):
        return judge.is_valid(json.loads(text))

    tried_pattern(tried, rng, rule, made, fits, count, (32, 48, 64), infills=0.0)


def tried_choices(tried, rng, count):
    """Choices of one to four words, which are tokens of zoo:bigram."""
    words = tried.models["bigram"].words
    words = [word for word in words[:400] if word.isalpha()]
    of = [" ".join(rng.choices(words, k=rng.randint(1, 4))) for _ in range(rng.randint(2, 30))]
    for _ in range(count):
        drawn = settings(rng, "bigram", sorted({text.count(" ") + 1 for text in of}) * 8 + [5])
        length = drawn["plan"]["length"]
        row = ("in the beginning", [None] * length, None)

        never = {tried.models["bigram"].words[i] for i in drawn["draw"].get("suppress", ())}
        left = [text for text in of if len(text.split()) == length and not never & {*text.split()}]
        tried.decode({"name": "choices", "of": of}, left.__contains__, lambda infill, left=left: not left, row, **drawn)


def run(models, patterns, schemas, choices, seed):
    """Decode so many rules of each kind four times."""
    rng, tried = random.Random(seed), Tried(models)
    for _ in range(patterns):
        text = pattern(rng)
        rule = {"name": "regex", "pattern": text}
        tried_pattern(tried, rng, rule, text, re.compile(text, re.ASCII).fullmatch, 4, (10, 14, 18, 24))
    for schema in rng.sample(SCHEMAS, schemas):
        tried_schema(tried, rng, schema, 4)
    for _ in range(choices):
        tried_choices(tried, rng, 4)
    assert tried.wrong == []
    assert tried.decoded == 4 * (patterns + schemas + choices)
    assert tried.refused <= 0.05 * tried.decoded
    return tried


def test_every_text_keeps_its_rule(models):
    assert len(SCHEMAS) == 60
    run(models, patterns=8, schemas=2, choices=2, seed=1)


def test_what_is_called_impossible_is_so():
    """Beside every text of a few tokens, some of which hold parts of characters."""
    rng, found = random.Random(5), 0
    tokens = [b"a", b"ok", b"\xc3", b"\xa9", b"1", b" ", b"x1", b"\xc3\xa9", b"\xf0\x9f", b"\x98\x80"]
    for _ in range(120):
        rule, ends = pattern(rng, 2), rng.random() < 0.5
        row = [rng.choice("a1") if rng.random() < 0.2 else None for _ in range(rng.randint(1, 3))]
        fits = False
        for length in range(len(row) + 1) if ends else [len(row)]:
            for each in itertools.product(*(tokens if c is None else [c.encode()] for c in row[:length])):
                text = b"".join(each).decode(errors="surrogateescape")
                fits |= text.isprintable() and bool(re.fullmatch(rule, text, re.ASCII))
        assert possible(rule, row, tokens, ends) == fits, (rule, row, ends)
        found += fits
    assert 20 < found < 100


@pytest.mark.slow
def test_every_text_of_many_rules_keeps_its_rule(models):
    tried = run(models, patterns=300, schemas=60, choices=40, seed=0)
    print(tried.decoded, "decodes,", tried.refused, "refused")
    assert tried.refused > 10, "some are impossible"


@pytest.mark.slow
def test_every_text_under_every_setting_of_a_grid_keeps_its_rule(models):
    """14 patterns and 6 schemas, by model and cache, sampler, draw, and mode."""
    rng, tried = random.Random(2), Tried(models)
    rules = []
    while len(rules) < 14:
        text = pattern(rng)
        if possible(text, [None] * 8, [bytes([b]) for b in range(32, 127)], ends=True):
            rules.append(({"name": "regex", "pattern": text}, re.compile(text, re.ASCII).fullmatch))
    for schema in rng.sample(SCHEMAS[:40], 6):
        judge = jsonschema.Draft202012Validator(schema, format_checker=FORMATS)
        rule = {"name": "json_schema", "schema": schema, "depth": 1}
        rules.append((rule, lambda text, judge=judge: judge.is_valid(json.loads(text))))
    where = [(name, cache) for name in ("llada", "sdar", "bytes") for cache in CACHES[name]]
    grid = itertools.product(where, ("confidence", "info_gain", "threshold", "lopa"), DRAWS[1:5], ("exact", "mask"))
    for (name, cache), sampler, draw, mode in grid:
        for rule, judge in rules:
            length = 8 if rule["name"] == "regex" else 40
            plan = {"length": length, "block": 4, "tokens_per_step": 3}
            ask = ("ask", [None] * length, None)
            tried.decode(rule, judge, lambda infill: False, ask, name, sampler, cache, plan, draw, mode)
    assert tried.wrong == []
    assert tried.decoded == 20 * 6 * 4 * 4 * 2 and not tried.refused
