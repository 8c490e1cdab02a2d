"""AdaBlock equals its rule written out, position by position; and each clause of the rule, on a model made by hand."""

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Output, Plan, Sampler
from mdmkit.testing import ToyBackbone
from mdmkit_heuristics.adablock import AdaBlock
from mdmkit_heuristics.scores import Confidence
from mdmkit_heuristics.selects import Threshold

TOY = ToyBackbone(dtype=torch.float64)
PROMPTS = ("ab", "c", "abcde", "fedcbafedc", "aaa")
# Rows in which decoding fills positions between given ones.
INFILLS = ("a__b___c____d______e_______f____", "___________________ab_______________")


def seen(tokens):
    """Distributions of a row, a list of lists."""
    row = torch.tensor([tokens])
    out = TOY.forward(row, torch.ones_like(row).bool(), None, positions=torch.arange(len(tokens))[None])
    logits = TOY.project(out.hidden)[0]
    logits[:, [TOY.mask_id, *TOY.forbidden]] = -torch.inf
    return logits.softmax(-1).tolist()


def literal(tokens, rule):
    """Tokens, forwards, and the length of each block."""
    tokens = list(tokens)
    reach = int(rule.window * tokens.count(TOY.mask_id))
    forwards, blocks, stop = 0, [], 0
    while left := [i for i, token in enumerate(tokens) if token == TOY.mask_id]:
        p, forwards = seen(tokens), forwards + 1
        c = [max(each) for each in p]
        best = [each.index(max(each)) for each in p]
        if left[0] >= stop:
            start = left[0]
            found = [i for i in left if i < start + reach and best[i] in rule.delimiters]
            peak = max(found, key=lambda i: (c[i], -i), default=None)
            stop = start + rule.size if peak is None or c[peak] < rule.sure else peak + 1
            stop = min(stop, len(tokens))
            blocks.append(stop - start)
        inside = [i for i in left if i < stop]
        for i in [i for i in inside if c[i] >= rule.threshold] or [max(inside, key=lambda i: (c[i], -i))]:
            tokens[i] = best[i]
    return tokens, forwards, blocks


def ids(text, length=0):
    return [TOY.mask_id if letter == "_" else ord(letter) - 96 for letter in text] + [TOY.mask_id] * length


RULES = {
    "usual": AdaBlock(delimiters=(3, 4, 5), sure=0.3, size=6, threshold=0.6),
    "any delimiter": AdaBlock(delimiters=(1, 2, 3, 4), sure=0.0, size=3, window=0.5, threshold=0.4),
    "wide": AdaBlock(delimiters=(7, 8), sure=0.2, size=4, window=1.0, threshold=0.5),
    "one token": AdaBlock(delimiters=(8,), sure=0.25, size=5, window=0.4, threshold=0.3),
}


@pytest.mark.parametrize("name", RULES)
def test_it_decodes_as_its_rule_written_out(name):
    rule = RULES[name]
    rows = mdmkit.decode(Sampler(Confidence(), rule, plan=Plan(length=24)), TOY, [*PROMPTS, *INFILLS]).rows
    expected = [literal(ids(text, 24), rule) for text in PROMPTS] + [literal(ids(text), rule) for text in INFILLS]
    assert [row.trace["tokens"] for row in rows] == [tokens for tokens, _, _ in expected]
    assert [row.nfe for row in rows] == [forwards for _, forwards, _ in expected]
    # Blocks that end at a delimiter are among them, not only the usual ones and the last of a row.
    assert any(block != rule.size for _, _, blocks in expected for block in blocks[:-1])


def test_without_a_sure_delimiter_it_is_threshold_decoding_in_blocks():
    rule = AdaBlock(delimiters=(1, 2, 3), sure=1.0, size=5, threshold=0.4)
    ours = mdmkit.decode(Sampler(Confidence(), rule, plan=Plan(length=23)), TOY, list(PROMPTS))
    usual = mdmkit.decode(Sampler(Confidence(), Threshold(0.4), plan=Plan(length=23, block=5)), TOY, list(PROMPTS))
    assert [(row.tokens, row.order, row.nfe) for row in ours.rows] == [
        (row.tokens, row.order, row.nfe) for row in usual.rows
    ]


class Scripted(ToyBackbone):
    """Each position has one distribution, whatever the other tokens are: at the positions given, token 3 or 4."""

    def __init__(self, found):
        super().__init__(dtype=torch.float64)
        table = torch.full((64, self.vocab), 0.02)
        table[:, 7] = 0.5
        for place, (token, p) in found.items():
            table[place] = (1 - p) / (self.vocab - 4)
            table[place, token] = p
        table[:, [0, self.mask_id, self.vocab - 1]] = 0.0
        self.table = (table / table.sum(1, keepdim=True)).log().double().to(self.device)

    def forward(self, tokens, valid, conditioning, *, positions, cache=None, **more):
        return Output(self.table[positions])

    def project(self, hidden):
        return hidden.clone()


def blocks(found, length=24, prompt="", **rule):
    """The lengths of the blocks: at threshold 0 each is filled in one step."""
    rule = {"delimiters": (3, 4), "size": 4, "threshold": 0.0, **rule}
    sampler = Sampler(Confidence(), AdaBlock(**rule), plan=Plan(length=length))
    order = mdmkit.decode(sampler, Scripted(found), [prompt]).rows[0].order
    assert order == sorted(order)
    return [order.count(step) for step in range(order[-1] + 1)]


def test_a_block_ends_behind_its_most_probable_delimiter():
    assert blocks({1: (3, 0.6), 3: (4, 0.9), 5: (3, 0.8)})[:2] == [4, 2]
    assert blocks({1: (3, 0.9), 3: (4, 0.6), 5: (3, 0.8)})[:2] == [2, 4]


def test_the_first_of_equal_delimiters_ends_the_block():
    assert blocks({1: (3, 0.6), 3: (4, 0.6), 5: (3, 0.6)})[:3] == [2, 2, 2]


def test_a_block_may_be_longer_than_the_usual_size():
    assert blocks({5: (3, 0.6)}, size=2)[:2] == [6, 2]


def test_a_delimiter_that_is_not_sure_enough_ends_no_block():
    assert blocks({1: (3, 0.6)}, sure=0.61)[:2] == [4, 4]
    assert blocks({1: (3, 0.6)}, sure=0.59)[:2] == [2, 4]


def test_a_token_that_is_no_delimiter_ends_no_block():
    assert blocks({1: (5, 0.9)})[:2] == [4, 4]


def test_a_delimiter_is_looked_for_in_a_quarter_of_what_is_to_be_filled():
    """⌊0.25 · 24⌋ = 6 positions from the block's begin, and the prompt does not count."""
    assert blocks({5: (3, 0.6)})[0] == 6
    assert blocks({6: (3, 0.6)})[:2] == [4, 3]
    assert blocks({8: (3, 0.6)}, prompt="abc")[0] == 6
    assert blocks({9: (3, 0.6)}, prompt="abc")[:2] == [4, 3]


def test_the_window_does_not_shrink_with_what_is_left():
    """At position 12 the window is still 6 positions, of which 17 is the last."""
    assert blocks({17: (3, 0.6)}) == [4, 4, 4, 6, 4, 2]


def test_a_window_of_no_position_holds_no_delimiter():
    assert blocks({0: (3, 0.9), 1: (3, 0.9)}, length=3, size=2) == [2, 1]
    assert blocks({0: (3, 0.9), 1: (3, 0.9)}, length=8, size=8) == [1, 1, 6]


def test_the_last_block_ends_with_the_row():
    assert blocks({}, length=10) == [4, 4, 2]


def test_the_plans_blocks_hold_the_others():
    """The last one in a block of the plan is shorter, and the next block of the plan begins with a new one."""
    sampler = Sampler(Confidence(), AdaBlock(delimiters=(3,), size=4, threshold=0.0), plan=Plan(length=18, block=9))
    order = mdmkit.decode(sampler, Scripted({1: (3, 0.9)}), [""]).rows[0].order
    assert [order.count(step) for step in range(order[-1] + 1)] == [2, 4, 3, 4, 4, 1]


def test_ids_that_the_model_does_not_have_are_refused():
    with pytest.raises(MdmkitError, match=r"delimiters=\[198\]: this model has the tokens 0 to 12; none ends with a"):
        mdmkit.decode(mdmkit.compose("adablock"), TOY, ["ab"])


def test_the_error_names_the_tokens_that_end_with_a_line_break():
    class Lines(ToyBackbone):
        def render(self, token):
            return ".\n" if token in (4, 6) else "x"

    with pytest.raises(MdmkitError, match=r"line break are 4,6\. .* --set select\.delimiters=\[4,6\]\.$"):
        mdmkit.decode(mdmkit.compose("adablock"), Lines(), ["ab"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"delimiters": ()}, r"delimiters=\[\]: they are token ids, at least one"),
        ({"delimiters": (3, -1)}, r"delimiters=\[3, -1\]"),
        ({"sure": 1.5}, "sure=1.5: it must be from 0 to 1"),
        ({"window": -0.1}, "window=-0.1: it must be from 0 to 1"),
        ({"threshold": 2}, "threshold=2: it must be from 0 to 1"),
        ({"size": 0}, "size=0: a block has at least 1 position"),
    ],
)
def test_parameters_out_of_range_are_refused(given, words):
    with pytest.raises(MdmkitError, match=words):
        AdaBlock(**given)
