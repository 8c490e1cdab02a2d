"""A rule of each prompt: rows with different rules share a batch, and each has the text that it has alone."""

import re

import pytest
import torch

from mdmkit import Engine, MdmkitError, Prompt, Window, compose, decode
from mdmkit_constrain import by_prompt

RULES = (
    None,
    {"name": "regex", "pattern": "(ab|ba|c){1,4}"},
    {"name": "choices", "of": ["abab", "cc", "bbbb"]},
    {"name": "regex", "pattern": "a*b*c*", "mode": "mask"},
    {"name": "tokens", "allowed": [1, 2]},
)
ROWS = ((), (1, 2), (6, 6, 2, 6), (3, 6, 6))


def _prompts():
    pairs = [(row, rule) for row in ROWS for rule in RULES]
    every = [Prompt(ids=row, seed=i, index=i, rule=rule) for i, (row, rule) in enumerate(pairs)]
    return [p for p in every if not (p.rule or {}).get("of") or len(p.ids or ()) < 3]


def _keeps(text, rule):
    if rule is None:
        return True
    if rule["name"] == "choices":
        return text in rule["of"]
    return re.fullmatch(rule.get("pattern", "[ab]*"), text) is not None


@pytest.mark.parametrize("sampler", ["confidence", "info_gain", "beam"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_each_row_has_the_same_text_alone_in_a_batch_and_late(brute, sampler, temperature):
    model, prompts = brute.Small(ends=True), _prompts()
    composed = compose(
        sampler,
        constraint="by_prompt",
        plan={"length": 5, "block": 3, "tokens_per_step": 2},
        draw={"temperature": temperature},
    )
    alone = [decode(composed, model, [prompt]).rows[0] for prompt in prompts]
    for prompt, row in zip(prompts, alone, strict=True):
        canvas = brute.canvas_of(model, [prompt.ids], 5)
        ((start, stop),) = canvas.answers
        assert _keeps(model.text(row.trace["tokens"][start:stop], bool(canvas.infill[0])), prompt.rule)
    together = decode(composed, model, prompts).rows
    engine, late = Engine(composed, model, 4), {}
    for prompt in prompts:
        engine.admit(prompt)
        late |= {ended.id: ended.row for ended in engine.step()}
    late |= {ended.id: ended.row for ended in engine.drain()}
    for i, row in enumerate(alone):
        for other in (together[i], late[i]):
            assert other.tokens == row.tokens and other.nfe == row.nfe
            # A choice of texts ties positions to one another, so that their confidence is the same.
            if prompts[i].rule is None or prompts[i].rule["name"] != "choices":
                assert other.order == row.order and other.uncertainty == pytest.approx(row.uncertainty)


@pytest.mark.parametrize("rule", RULES[1:])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_rule_of_a_prompt_is_that_rule_of_the_sampler(brute, rule, temperature):
    given = {"plan": {"length": 4, "tokens_per_step": 2}, "draw": {"temperature": temperature}}
    model = brute.Small()
    own = decode(compose("confidence", constraint="by_prompt", **given), model, [Prompt(ids=(1,), rule=rule)]).rows[0]
    whole = decode(compose("confidence", constraint=rule, **given), model, [Prompt(ids=(1,))]).rows[0]
    default = {"name": "by_prompt", "default": rule}
    other = decode(compose("confidence", constraint=default, **given), model, [Prompt(ids=(1,))]).rows[0]
    assert own.tokens == whole.tokens == other.tokens and own.uncertainty == whole.uncertainty


def test_prompts_without_a_rule_are_as_without_a_constraint(brute):
    given = {"plan": {"length": 6, "tokens_per_step": 2}, "draw": {"temperature": 1.0}}
    prompts = [Prompt(ids=(1,), seed=i, index=i) for i in range(4)]
    free = decode(compose("confidence", constraint="by_prompt", **given), brute.Small(), prompts).rows
    assert [row.tokens for row in free] == [
        row.tokens for row in decode(compose("confidence", **given), brute.Small(), prompts).rows
    ]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"name": "regex", "pattern": "("}, r"prompt 1: constraint ByPrompt .*no regular expression"),
        ({"name": "regex", "patern": "a"}, r"prompt 1: .*unknown constraint 'regex' parameter 'patern'"),
        ({"name": "regx"}, r"prompt 1: .*unknown constraint 'regx'. Did you mean 'regex'"),
        ({"pattern": "a"}, r"prompt 1: .*write its name, or a mapping with 'name'"),
        ({"name": "by_prompt"}, r"prompt 1: .*name the rule itself"),
        ({"name": "regex", "pattern": "a{9}"}, r"prompt 1: .*no text of 4 tokens keeps pattern 'a\{9\}'"),
        ({"name": "choices", "of": ["x"]}, r"prompt 1: .*no text of this model's tokens keeps"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused_with_its_prompt(brute, rule, said):
    sampler = compose("confidence", constraint="by_prompt", plan={"length": 4})
    prompts = [{"prompt_ids": [1]}, {"prompt_ids": [1], "rule": rule}]
    with pytest.raises(MdmkitError, match=said):
        decode(sampler, brute.Small(), prompts)


def test_a_rule_that_the_sampler_does_not_read_is_refused(brute):
    asked = [{"prompt_ids": [1], "rule": RULES[1]}]
    with pytest.raises(
        MdmkitError, match=r"prompt 0 has a rule of its own, and the sampler has no constraint: set constraint="
    ):
        decode(compose("confidence"), brute.Small(), asked)
    fixed = compose("confidence", constraint={"name": "regex", "pattern": "a*"})
    with pytest.raises(MdmkitError, match=r"the sampler has constraint Regex .*, which reads none"):
        decode(fixed, brute.Small(), asked)
    with pytest.raises(MdmkitError, match=r"'rule' must be dict, not"):
        decode(compose("confidence"), brute.Small(), [{"prompt_ids": [1], "rule": "a*"}])
    with pytest.raises(MdmkitError, match=r"unknown constraint 'no'"):
        compose("confidence", constraint={"name": "by_prompt", "default": {"name": "no"}})


def test_rules_that_are_kept_ready_do_not_fill_the_memory(brute, monkeypatch):
    model = brute.Small()
    several = compose("confidence", constraint="by_prompt").constraint.prepare(model, torch.zeros(model.vocab) > 0)
    canvas, answer = brute.canvas_of(model, [(1,)], 4), Window.of([(1, 5)], torch.device("cpu"))
    every = [{"name": "regex", "pattern": f"[ab]{{4}}|c{{{n}}}"} for n in range(5, 9)]
    assert several.refuse(canvas, answer, every[0]) is None
    one = by_prompt._bytes(several._of(several._key(every[0])))
    tables = several._of(several._key(every[0])).tables
    assert tables.dense_next.nbytes < one < 100_000
    monkeypatch.setattr(by_prompt, "BYTES", int(2.5 * one))
    for rule in every:
        assert several.refuse(canvas, answer, rule) is None
    assert list(several._ready) == [several._key(rule) for rule in every[2:]]
    monkeypatch.setattr(by_prompt, "BYTES", 1)  # less than any takes: the newest stays, since it is in use
    several.refuse(canvas, answer, every[0])
    assert list(several._ready) == [several._key(every[0])]
