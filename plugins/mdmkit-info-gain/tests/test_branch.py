"""What `branch` proposes equals a walk through each row in plain Python; its variants keep every law of a select."""

import itertools
import math

import pytest
import torch

from mdmkit import MdmkitError, noise
from mdmkit.plan import Plan
from mdmkit.sampler import Sampler
from mdmkit.testing import LookaheadContract, SelectContract, ToyBackbone, make_moment
from mdmkit_info_gain.branch import Branch
from mdmkit_info_gain.lookahead import InfoGain

VARIANTS = [
    Branch(candidates=5, position_temperature=0.4, bypass=bypass, certain=certain, gap=gap, spacing=spacing)
    for bypass, certain in [(None, "alone"), (0.55, "alone"), (0.55, "fixed"), (0.55, "all")]
    for gap, spacing in itertools.product((None, 0.15), (1, 2, 3))
]


def walk(wants, eligible, count, spacing):
    """The best `count`, skipping what is too near; those skipped make up for a shortage."""
    ranked = sorted(eligible, key=lambda w: (-wants[w], w))
    taken = []
    for w in ranked:
        if all(abs(w - other) >= spacing for other in taken):
            taken.append(w)
    return set((taken + [w for w in ranked if w not in taken])[:count])


def naive(stage, step, scores, row):
    """The live alternatives of one row, as (positions -> tokens) dicts, from the description of the stage."""
    n, draws = stage.candidates, step.draws
    open_ = step.open[row].nonzero()[:, 0].tolist()
    quota = int(step.quota[row])
    if not open_:
        return []
    best = step.belief.argmax[row].tolist()
    if len(open_) <= quota:
        return [{w: int(step.tokens[row, w]) for w in open_}]
    p = step.belief.logits[row].softmax(-1)
    certain = [w for w in open_ if stage.bypass is not None and float(p[w].max()) >= stage.bypass]
    drawn = step.draw(n - 1, "branch_tokens")[row].tolist()
    gumbel = noise.gumbel(step.noise("branch_positions", n - 1))[row].tolist()
    by_token = scores is step.confidence and draws.temperature > 0

    def want(tokens, w):
        return float(p[w, tokens[w]].double() if by_token else scores[row, w].double())

    greedy = {w: want(best, w) for w in open_}
    owed, fixed = quota, set()
    if certain and stage.certain == "all":
        return [{w: best[w] for w in certain}]
    if certain and (stage.certain == "alone" or len(certain) >= quota):
        return [{w: best[w] for w in walk(greedy, certain, quota, 1)}]
    if certain:
        fixed, owed = set(certain), quota - len(certain)
    free = [w for w in open_ if w not in fixed]
    places = [walk(greedy, free, owed, stage.spacing)]
    tokens = [best]
    if (
        stage.gap is None
        or min(greedy[w] for w in places[0]) - max((greedy[w] for w in free if w not in places[0]), default=-math.inf)
        <= stage.gap
    ):
        for i in range(n - 1):
            wants = {w: want(drawn[i], w) / stage.position_temperature + gumbel[i][w] for w in open_}
            places.append(walk(wants, free, owed, stage.spacing))
            tokens.append(drawn[i])
    found = []
    for place, words in zip(places, tokens, strict=True):
        action = {w: best[w] if w in fixed else words[w] for w in sorted(place | fixed)}
        if action not in found:
            found.append(action)
    return found


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("stage", VARIANTS, ids=lambda s: f"{s.bypass}-{s.certain}-{s.gap}-{s.spacing}")
def test_it_proposes_what_a_walk_through_the_row_finds(stage, temperature):
    sizes = set()
    for seed, own in itertools.product(range(6), (False, True)):
        moment = make_moment(seed, temperature=temperature)
        step = moment.step()
        scores = step.confidence if own else moment.scores[:, moment.hull] / 4
        actions = stage(step, scores)
        for row in range(step.rows):
            proposed = [
                {w: int(actions.tokens[row, i, w]) for w in actions.place[row, i].nonzero()[:, 0].tolist()}
                for i in actions.live[row].nonzero()[:, 0].tolist()
            ]
            assert proposed == naive(stage, step, scores, row)
            sizes.add(min(len(proposed), 2))
    assert sizes == {0, 1, 2}


class TestFixed(SelectContract):
    def make(self):
        return Branch(candidates=4, bypass=0.3, certain="fixed", spacing=2)


class TestAll(SelectContract):
    def make(self):
        return Branch(candidates=3, bypass=0.4, certain="all", gap=0.2)


class TestFew(LookaheadContract):
    def make(self):
        return InfoGain(scope="sequence", reference="matched", positions=3, uncertainty="surprisal")


def decode_with(confidence, decode, plan, **options):
    sampler = Sampler(confidence, Branch(candidates=4, **options), InfoGain(), plan=plan)
    return decode(sampler, ToyBackbone(dtype=torch.float64), [{"prompt": "ab", "length": 14, "seed": 3}]).rows[0]


def test_fixing_what_is_certain_keeps_the_plan_and_filling_all_of_it_shortens_it(confidence, decode):
    plan = Plan(tokens_per_step=3)
    counts = {
        certain: torch.tensor(decode_with(confidence, decode, plan, bypass=0.5, certain=certain).order).bincount()
        for certain in ("alone", "fixed", "all")
    }
    assert counts["fixed"].tolist() == [3, 3, 3, 3, 2]
    assert counts["alone"][:-1].min() < 3  # and so the last step is longer than planned
    assert len(counts["all"]) < 5


def test_a_gap_saves_forwards(confidence, decode):
    plan = Plan(tokens_per_step=2)
    rows = [decode_with(confidence, decode, plan, bypass=None, gap=gap).nfe for gap in (0.0, 0.02, None)]
    assert rows[0] == 7  # one forward a step: greedy decoding
    assert rows[0] < rows[1] < rows[2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"certain": "some"}, "certain='some'.*alone, fixed, all"),
        ({"gap": -0.1}, "gap=-0.1"),
        ({"spacing": 0}, "spacing=0"),
    ],
)
def test_a_parameter_out_of_range_is_refused(options, words):
    with pytest.raises(MdmkitError, match=words):
        Branch(**options)
    with pytest.raises(MdmkitError, match="positions=0"):
        InfoGain(positions=0)
