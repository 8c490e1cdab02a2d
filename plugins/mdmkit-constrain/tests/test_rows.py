"""Rows under a rule: alone, in a batch and late; and what is refused, before the model sees it."""

import re

import pytest

from mdmkit import Engine, MdmkitError, Prompt, compose, decode
from mdmkit.testing import ToyBackbone

PATTERN = "(ab|ba|c){1,4}a?b*"
ROWS = ((), (1, 2), (6, 6, 2, 6), (3, 6, 6), (1, 1, 1, 1, 1), (6, 5, 6, 6, 6))


def _prompts():
    return [Prompt(ids=row, seed=i, index=i) for i, row in enumerate(ROWS)]


@pytest.mark.parametrize("sampler", ["confidence", "info_gain", "beam"])
@pytest.mark.parametrize("mode", ["exact", "mask"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_has_the_same_text_alone_in_a_batch_and_late(brute, sampler, mode, temperature):
    rule = {"name": "regex", "pattern": PATTERN, "mode": mode}
    plan = {"length": 6, "block": 3, "tokens_per_step": 2}
    made, model = compose(sampler, constraint=rule, plan=plan, draw={"temperature": temperature}), brute.Small()
    alone = [decode(made, model, [prompt]).rows[0] for prompt in _prompts()]
    together = decode(made, model, _prompts()).rows
    engine = Engine(made, model, slots=2)
    ids = [engine.admit(prompt) for prompt in _prompts()]
    ended = {each.id: each.row for each in engine.drain()}
    late = [ended[id_] for id_ in ids]
    for rows in (together, late):
        assert [(row.text, row.order, row.nfe) for row in rows] == [(row.text, row.order, row.nfe) for row in alone]


@pytest.mark.parametrize("mode", ["exact", "mask"])
@pytest.mark.parametrize("block", [1, 2, 4])
def test_blocks_of_the_plan_that_are_shorter_than_the_models(brute, block, mode):
    rule = {"name": "regex", "pattern": "([abc]|(b)((ca|b)+))", "mode": mode}
    made = compose("confidence", constraint=rule, plan={"length": 7, "block": block}, draw={"temperature": 1.0})
    prompts = [Prompt(ids=(2,), seed=seed, index=seed) for seed in range(12)]
    for row in decode(made, brute.Small(block=4), prompts).rows:
        assert re.fullmatch(rule["pattern"], row.text)


# -- refused ---------------------------------------------------------------------------------------------------------


class Unseen(ToyBackbone):
    """A model that fails if it is run."""

    def forward(self, *rest, **more):
        raise AssertionError("the model was run")


class Silent(Unseen):
    def texts(self):
        return ()


def _refused(rule, prompt="", model=None, sampler="confidence", **settings):
    with pytest.raises(MdmkitError) as caught:
        decode(compose(sampler, constraint=rule, **settings), model or Unseen(), [prompt])
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_a_pattern_that_does_not_fit_the_length(brute):
    said = _refused({"name": "regex", "pattern": "a{9}|b{12}"}, plan={"length": 8})
    assert "prompt 0: constraint Regex" in said and "no text of 8 tokens keeps pattern 'a{9}|b{12}'" in said
    assert "Lengths that fit near it: 9, 12" in said
    ends = brute.Small(ends=True)
    said = _refused({"name": "regex", "pattern": "a{3}b{4}"}, Prompt(ids=()), ends, plan={"length": 5})
    assert "5 tokens are too few to keep pattern 'a{3}b{4}': the shortest text that does takes 6" in said


def test_a_pattern_that_no_text_of_the_model_keeps():
    said = _refused({"name": "regex", "pattern": "[0-9]+"})
    assert "no text of this model's tokens keeps pattern '[0-9]+'" in said
    assert "draw.suppress" in _refused({"name": "regex", "pattern": "a+"}, draw={"suppress": [1]})


def test_text_between_gaps_that_breaks_the_rule():
    said = _refused({"name": "choices", "of": ["abc", "aba"]}, "_c_")
    assert "the text between its masks breaks choices ['abc', 'aba'] at position 1" in said
    assert "the 2 open positions" in _refused({"name": "choices", "of": ["abca", "cbaa"]}, "_b_")


def test_other_rows_are_decoded_by_an_engine():
    engine = Engine(compose("confidence", constraint={"name": "choices", "of": ["abc"]}), ToyBackbone(), slots=2)
    engine.admit(Prompt(text="_b_"))
    with pytest.raises(MdmkitError, match="prompt 1"):
        engine.admit(Prompt(text="_c_", index=1))
    with pytest.raises(MdmkitError, match="prompt 2"):
        engine.admit(Prompt(text="____", index=2))
    engine.admit(Prompt(text="___", index=3))
    assert [each.row.text for each in engine.drain()] == ["abc", "abc"]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(a", "is no regular expression: missing )"),
        ("^a$", "cannot be made an automaton"),
        (r"\bab", "leave out ^ and $"),
        (r"(a)\1", "cannot be made an automaton"),
        ("[]a]b", "is not the same as in Python's re"),
        ("(?<=a)b", "cannot be made an automaton"),
    ],
)
def test_a_pattern_that_the_library_cannot_read(pattern, said):
    assert said in _refused({"name": "regex", "pattern": pattern})


def test_a_model_whose_tokens_have_no_texts():
    said = _refused({"name": "choices", "of": ["a"]}, model=Silent())
    assert "'Silent' does not say what text each token of this model stands for" in said
    ids = {"name": "tokens", "allowed": [1, 3]}
    texts = decode(compose("confidence", constraint=ids), type("Ids", (ToyBackbone,), {"texts": Silent.texts})(), [""])
    assert set(texts.rows[0].text) <= {"a", "c"}


def test_parts_that_change_or_leave_out_positions():
    rule = {"name": "choices", "of": ["abc"]}
    with pytest.raises(MdmkitError, match=r"kept by a whole answer, and plan\.room=4 lets a row grow"):
        compose("confidence", constraint=rule, plan={"room": 4})
    assert "commit 'edit' replaces tokens" in _refused(rule, sampler="edit")
    assert "commit 'daedal' replaces tokens" in _refused(rule, sampler="confidence", commit="daedal")


def test_tokens_and_choices_that_are_nothing(brute):
    assert "names no text" in _refused({"name": "choices", "of": []})
    assert "names no token" in _refused({"name": "tokens", "allowed": []})
    assert "token id 99" in _refused({"name": "tokens", "allowed": [99]})
    assert "no single token of this model has this text" in _refused({"name": "tokens", "allowed": ["ab"]})
    assert "constraint.mode must be one of" in _refused({"name": "regex", "mode": "hard"})


def test_tokens_of_which_no_answer_can_consist_are_refused(brute):
    """The mask, an end, and padding: every answer would be empty."""
    model = brute.Small(ends=True)
    for allowed in ([model.mask_id], [brute.END], [0, model.mask_id, brute.END]):
        said = _refused({"name": "tokens", "allowed": allowed}, model=model)
        assert f"names only tokens that no answer consists of ({sorted(allowed)})" in said
    rule = {"name": "tokens", "allowed": [1, model.mask_id]}
    row = decode(compose("confidence", constraint=rule), model, [Prompt(ids=(1, 2))]).rows[0]
    assert {*row.tokens} <= {1, brute.END}


def test_only_the_tokens_that_are_allowed(brute):
    sampler = compose("confidence", constraint={"name": "tokens", "allowed": ["ab", 5]}, draw={"temperature": 1.0})
    rows = decode(sampler, brute.Small(), [Prompt(ids=(1, 2), seed=i, index=i) for i in range(6)]).rows
    assert {token for row in rows for token in row.tokens} == {3, 5}


def test_a_rule_that_is_too_large_for_the_model_is_refused(brute, monkeypatch):
    monkeypatch.setattr("mdmkit_constrain.tables.ARROWS", 4)
    sampler = compose("confidence", constraint={"name": "regex", "pattern": "[ab]{3}c{3}"}, plan={"length": 6})
    with pytest.raises(MdmkitError, match="this rule is too large"):
        decode(sampler, brute.Small(), [Prompt(ids=(1,))])
