"""Stop rules end rows as their rules do when they are written out, and in a row's last block only."""

import math
from dataclasses import replace

import pytest
import torch

import mdmkit
from mdmkit import Belief, MdmkitError, Plan, Sampler
from mdmkit.testing import StopContract, ToyBackbone, make_moment
from mdmkit_heuristics.exits import Prophet, Sched
from mdmkit_heuristics.scores import Confidence
from mdmkit_heuristics.selects import TopK

TOY = ToyBackbone(dtype=torch.float64)
PROMPTS = ("ab", "c", "abcde", "fedcbafedc", "aaa")


class TestProphet(StopContract):
    component = Prophet


class TestProphetEasily(StopContract):
    def make(self):
        return Prophet(1.2, 0.8, 0.4)


class TestSched(StopContract):
    component = Sched


@pytest.mark.parametrize("curve", ["linear", "cosine", "exponential"])
class TestSchedEasily(StopContract):
    @pytest.fixture(autouse=True)
    def _curve(self, curve):
        self.curve = curve

    def make(self):
        return Sched(1.2, 0.2, self.curve)


def probabilities(tokens):
    row = torch.tensor([tokens])
    out = TOY.forward(row, torch.ones_like(row).bool(), None, positions=torch.arange(len(tokens))[None])
    logits = TOY.project(out.hidden)[0]
    logits[:, [TOY.mask_id, *TOY.forbidden]] = -torch.inf
    return logits.softmax(-1).tolist()


def literal(prompt, bar, length, block):
    """Tokens, forwards and whether the rule ended the row; `bar(filled, all)` is the threshold. One token a step."""
    tokens = [ord(letter) - 96 for letter in prompt]
    begin, forwards = len(tokens), 0
    tokens += [TOY.mask_id] * length
    for start in range(begin, begin + length, block):
        size = min(block, begin + length - start)
        while left := [i for i in range(start, start + size) if tokens[i] == TOY.mask_id]:
            p, forwards = probabilities(tokens), forwards + 1
            best = max(left, key=lambda i: (max(p[i]), -i))
            tokens[best] = p[best].index(max(p[best]))
            left.remove(best)
            margins = [math.log(a / b) for a, b in (sorted(p[i], reverse=True)[:2] for i in left)]
            last = start + size == begin + length
            if left and last and sum(margins) / len(left) >= bar(length - len(left), length):
                p, forwards = probabilities(tokens), forwards + 1
                for i in left:
                    tokens[i] = p[i].index(max(p[i]))
                return tokens[begin:], forwards, True
    return tokens[begin:], forwards, False


def thirds(early, middle, late):
    return lambda filled, whole: early if filled < whole / 3 else middle if filled < whole * 2 / 3 else late


def falls(high, low, curve, rate=4.0):
    shapes = {
        "linear": lambda p: 1 - p,
        "cosine": lambda p: (1 + math.cos(math.pi * p)) / 2,
        "exponential": lambda p: math.exp(-rate * p),
    }
    return lambda filled, whole: low + (high - low) * shapes[curve](filled / whole)


RULES = {
    "prophet": (Prophet(1.4, 1.0, 0.7), thirds(1.4, 1.0, 0.7)),
    "prophet-late": (Prophet(9.0, 9.0, 0.6), thirds(9.0, 9.0, 0.6)),
    "prophet-middle": (Prophet(9.0, 0.6, 9.0), thirds(9.0, 0.6, 9.0)),
    "linear": (Sched(1.6, 0.3, "linear"), falls(1.6, 0.3, "linear")),
    "cosine": (Sched(1.6, 0.3, "cosine"), falls(1.6, 0.3, "cosine")),
    "exponential": (Sched(3.0, 0.3, "exponential", 2.0), falls(3.0, 0.3, "exponential", 2.0)),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("block", [None, 4])
def test_rows_end_as_the_rule_does(name, block):
    rule, bar = RULES[name]
    plan = Plan(length=12, block=block)
    rows = mdmkit.decode(Sampler(Confidence(), TopK(), stop=rule, plan=plan), TOY, list(PROMPTS)).rows
    expected = [literal(prompt, bar, 12, block or 12) for prompt in PROMPTS]
    assert [row.tokens for row in rows] == [tokens for tokens, _, _ in expected]
    assert [row.nfe for row in rows] == [forwards for _, forwards, _ in expected]
    assert [row.stopped not in ("length", "end") for row in rows] == [ended for _, _, ended in expected]
    # The last block of four begins when two thirds are filled, so the threshold of the middle is never asked.
    assert any(ended for _, _, ended in expected) == ((name, block) != ("prophet-middle", 4))
    assert block or min(row.nfe for row in rows) < 12


def states(p, filled):
    """A step of one row of which some positions of the block are open, all with distribution p."""
    moment = make_moment(0).rows([0])
    step = moment.step()
    canvas = step.canvas
    own = canvas.editable & step.spread(step.member)
    first = own & (own.cumsum(1) <= filled)
    canvas = replace(canvas, editable=own, open=own & ~first)
    logits = torch.tensor(p, dtype=torch.float64).log().expand(1, step.width, -1)
    step = replace(step, canvas=canvas, belief=Belief(logits), open=step.window(canvas.open) & step.member)
    return step, int(own.sum())


SURE, EVEN, ONE = [0.9, 0.1], [0.5, 0.5], [1.0, 0.0]


@pytest.mark.parametrize("rule", [Prophet(), Sched(), Prophet(0.0, 0.0, 0.0), Sched(0.0, 0.0)])
def test_a_row_with_nothing_open_is_not_ended_by_the_rule(rule):
    step, whole = states(SURE, 99)
    assert not step.open.any() and whole
    assert rule(step).tolist() == [False]


@pytest.mark.parametrize("rule", [Prophet(), Sched(), Sched(curve="linear"), Sched(curve="exponential")])
@pytest.mark.parametrize("p", [EVEN, ONE])
def test_a_tie_never_passes_and_a_certain_token_always_does(rule, p):
    for filled in range(5):
        step, _ = states(p, filled)
        assert rule(step).tolist() == [p is ONE]


def test_a_mean_exactly_at_the_threshold_ends_the_row():
    step, _ = states(SURE, 1)
    at = float(step.belief.top2[0, 0].log().diff().neg())
    assert at == pytest.approx(math.log(9))
    assert Prophet(at - 1e-6, 9.0, 9.0)(step).tolist() == [True]
    assert Prophet(at + 1e-6, 0.0, 0.0)(step).tolist() == [False]


def test_each_third_has_its_own_threshold():
    seen, (_, whole) = {}, states(SURE, 0)
    for filled in range(whole):
        step, _ = states(SURE, filled)
        seen[filled] = tuple(Prophet(*(0.0 if i == k else 9.0 for i in range(3)))(step).item() for k in range(3))
        third = 0 if filled < whole / 3 else 1 if filled < whole * 2 / 3 else 2
        assert seen[filled] == tuple(k == third for k in range(3))
    assert len(set(seen.values())) == 3


def test_open_positions_of_a_later_block_keep_the_rule_from_ending_the_row():
    step, _ = states(ONE, 1)
    later = torch.zeros_like(step.canvas.open)
    later[0, step.where.start[0] + step.width] = True
    more = replace(step, canvas=replace(step.canvas, open=step.canvas.open | later))
    assert Prophet()(step).tolist() == [True]
    assert Prophet()(more).tolist() == [False]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: Prophet(middle=-1.0), "middle=-1.0"),
        (lambda: Sched(high=1.0, low=2.0), "the threshold falls from high to low"),
        (lambda: Sched(rate=math.nan), "rate=nan"),
        (lambda: Sched(curve="steps"), "linear, cosine or exponential"),
    ],
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
