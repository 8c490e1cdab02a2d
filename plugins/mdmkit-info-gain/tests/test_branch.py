"""What `branch` proposes equals a walk through each row in plain Python; its variants keep every law of a select."""

import itertools
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from mdmkit import MdmkitError, Plan, Sampler, noise
from mdmkit.testing import LookaheadContract, SelectContract, ToyBackbone, make_moment, make_step
from mdmkit_info_gain.branch import Branch
from mdmkit_info_gain.lookahead import InfoGain
from mdmkit_info_gain.spacing import Reach, spaced_top

VARIANTS = [
    Branch(candidates=5, position_temperature=0.4, bypass=bypass, certain=certain, gap=gap, spacing=spacing)
    for bypass, certain in [(None, "alone"), (0.55, "alone"), (0.55, "fixed"), (0.55, "all")]
    for gap, spacing in itertools.product((None, 0.15), (1, 2, 3))
] + [
    Branch(candidates=6, position_temperature=0.4, bypass=0.55, certain=certain, spacing=spacing, overlap=overlap)
    for certain, spacing, overlap in [("alone", 1, 0.5), ("fixed", 2, 0.3), ("fixed", 1, 2 / 3), ("all", 3, 0.01)]
]
GRID = (5, 5)  # holds the widest row of a moment


def on_grid(moment):
    return replace(moment, canvas=replace(moment.canvas, grid=GRID))


def distance(step, row, w, other):
    """Along the sequence, or on a grid the larger of the distances in rows and in columns."""
    a, b = (int(step.position[row, column]) for column in (w, other))
    if step.canvas.grid is None:
        return abs(a - b)
    across = step.canvas.grid[1]
    return max(abs(a // across - b // across), abs(a % across - b % across))


def walk(wants, eligible, count, spacing, far):
    """The best `count`, skipping what is too near; those skipped make up for a shortage."""
    ranked = sorted(eligible, key=lambda w: (-wants[w], w))
    taken = []
    for w in ranked:
        if all(far(w, other) >= spacing for other in taken):
            taken.append(w)
    return set((taken + [w for w in ranked if w not in taken])[:count])


def naive(stage, step, scores, row):
    """The live alternatives of one row, as (positions -> tokens) dicts, from the description of the stage."""
    n, draws = stage.candidates, step.draws
    far = partial(distance, step, row)
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
        return [{w: best[w] for w in walk(greedy, certain, quota, 1, far)}]
    if certain:
        fixed, owed = set(certain), quota - len(certain)
    free = [w for w in open_ if w not in fixed]
    places = [walk(greedy, free, owed, stage.spacing, far)]
    tokens = [best]
    if (
        stage.gap is None
        or min(greedy[w] for w in places[0]) - max((greedy[w] for w in free if w not in places[0]), default=-math.inf)
        <= stage.gap
    ):
        for i in range(n - 1):
            wants = {w: want(drawn[i], w) / stage.position_temperature + gumbel[i][w] for w in open_}
            places.append(walk(wants, free, owed, stage.spacing, far))
            tokens.append(drawn[i])
    found = []
    for place, words in zip(places, tokens, strict=True):
        action = {w: best[w] if w in fixed else words[w] for w in sorted(place | fixed)}
        if action not in found and not any(alike(action, other, fixed) >= stage.overlap - 1e-9 for other in found):
            found.append(action)
    return found


def alike(action, other, fixed):
    """The share of what two actions write, the fixed positions aside, in which they agree."""
    a, b = ({(w, token) for w, token in one.items() if w not in fixed} for one in (action, other))
    return len(a & b) / max(len(a), len(b), 1)


# A grid is read for distances only.
CASES = [(stage, grid) for stage in VARIANTS for grid in (False, True) if stage.spacing > 1 or not grid]


def named(case):
    if not isinstance(case, Branch):
        return "grid" if case is True else "line"
    return f"{case.bypass}-{case.certain}-{case.gap}-{case.spacing}-{case.overlap:.2g}"


@pytest.mark.parametrize("temperature", [0.0, 0.7], ids=str)
@pytest.mark.parametrize(("stage", "grid"), CASES, ids=named)
def test_it_proposes_what_a_walk_through_the_row_finds(stage, temperature, grid):
    sizes = set()
    for seed, own in itertools.product(range(6), (False, True)):
        moment = make_moment(seed, temperature=temperature)
        moment = on_grid(moment) if grid else moment
        step = moment.step()
        scores = step.confidence if own else moment.where(moment.scores) / 4
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


class TestOnAGrid(SelectContract):
    """Every law, with a canvas that is an image."""

    def moment(self, seed=0, **options):
        return on_grid(super().moment(seed, **options))

    def make(self):
        return Branch(candidates=5, bypass=None, spacing=2, overlap=0.5)


def test_on_a_grid_neighbours_in_the_row_above_are_kept_apart():
    moment = on_grid(make_moment(0))
    wants = torch.zeros(1, 1, 25)
    wants[..., [12, 7, 14, 17]] = torch.tensor([9.0, 8.0, 5.0, 7.0])  # above and below the best; two columns beside it
    cell, everywhere = torch.arange(25)[None], torch.ones(1, 1, 25, dtype=torch.bool)
    near, far = (spaced_top(wants, everywhere, torch.tensor([[2]]), Reach(2, g, cell)) for g in (None, GRID))
    assert near[0, 0].nonzero()[:, 0].tolist() == [7, 12]
    assert far[0, 0].nonzero()[:, 0].tolist() == [12, 14]
    part = spaced_top(wants[..., 6:19], everywhere[..., 6:19], torch.tensor([[2]]), Reach(2, GRID, cell[:, 6:19]))
    assert torch.equal(part, far[..., 6:19])  # a window that is a part of the grid
    assert Reach(2, GRID, moment.canvas.positions).most == 9


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
        ({"overlap": 0.0}, "overlap=0"),
        ({"overlap": 1.5}, "overlap=1.5"),
    ],
)
def test_a_parameter_out_of_range_is_refused(options, words):
    with pytest.raises(MdmkitError, match=words):
        Branch(**options)
    with pytest.raises(MdmkitError, match="positions=0"):
        InfoGain(positions=0)


def test_a_position_exactly_at_the_bypass_is_certain():
    step = make_step(3)
    row = int((step.open.sum(1) > step.quota).nonzero()[0])
    best = float(step.confidence[row][step.open[row]].max())
    above = math.nextafter(best, 2.0) + 1e-6
    live = [Branch(candidates=4, bypass=bound)(step, step.confidence).live[row].sum() for bound in (best, above)]
    assert live[0] == 1 < live[1]
