"""Info-Gain in the loop: its limits are greedy decoding, its cost is counted, its belief is carried."""

from dataclasses import dataclass, replace

import pytest
import torch

from mdmkit import Draw, Plan, Sampler, Write
from mdmkit.testing import ToyBackbone
from mdmkit_info_gain.branch import Branch
from mdmkit_info_gain.lookahead import InfoGain

PROMPTS = [{"prompt": "ab", "length": n, "seed": n} for n in (1, 5, 9, 12)] + [{"prompt": "a__b_c____d", "seed": 99}]
PLANS = [
    Plan(),
    Plan(block=4),
    Plan(tokens_per_step=2),
    Plan(block=5, steps=6),
    Plan(block=5, steps=3, schedule="cosine"),
]


@dataclass(frozen=True)
class Forgetful(Write):
    """Writes like `write`, but has the loop forget the look and compute the belief anew."""

    rewrites = True


def info_gain(confidence, plan=None, *, temperature=0.0, **select):
    return Sampler(
        confidence,
        Branch(**{"bypass": None, **select}),
        InfoGain(),
        plan=plan or Plan(),
        draw=Draw(temperature=temperature),
    )


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("limit", [{"candidates": 1}, {"bypass": 0.0}], ids=["N=1", "gamma=0"])
def test_one_candidate_or_bypass_everywhere_is_confidence_decoding(confidence, greedy, decode, plan, limit):
    backbone = ToyBackbone()
    ours = decode(info_gain(confidence, plan, **limit), backbone, PROMPTS)
    theirs = decode(Sampler(confidence, greedy, plan=plan), backbone, PROMPTS)
    assert ours.tokens == theirs.tokens
    assert [row.order for row in ours.rows] == [row.order for row in theirs.rows]
    assert ours.nfe == theirs.nfe
    assert [row.uncertainty for row in ours.rows] == [row.uncertainty for row in theirs.rows]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_carried_belief_equals_a_recomputed_one(confidence, decode, plan, temperature):
    backbone = ToyBackbone(dtype=torch.float64)
    sampler = info_gain(confidence, plan, temperature=temperature, bypass=0.95)
    carried = decode(sampler, backbone, PROMPTS)
    anew = decode(replace(sampler, commit=Forgetful()), backbone, PROMPTS)
    assert carried.tokens == anew.tokens
    assert [r.uncertainty for r in carried.rows] == pytest.approx([r.uncertainty for r in anew.rows], abs=1e-9)
    assert carried.nfe["rows"] < anew.nfe["rows"]


def test_nfe_is_at_most_n_per_step_and_one_per_block(confidence, decode):
    n, plan = 6, Plan(block=4, tokens_per_step=2)
    for row in decode(info_gain(confidence, plan, candidates=n), ToyBackbone(), PROMPTS).rows:
        compared = [t for t in row.trace["values"] if t is not None]
        blocks = -(-len(row.tokens) // 4)
        assert row.nfe <= n * len(compared) + blocks
        # Each compared alternative is one row-forward. A step that compares nothing costs one, a block's last step
        # none, and entering the block one.
        alternatives = sum(sum(v is not None for v in values) for values in compared)
        assert row.nfe == alternatives + len(row.trace["values"]) - len(compared)


def test_a_bypassed_step_costs_one_forward_also_beside_a_branching_neighbour(confidence, decode):
    backbone = ToyBackbone()
    sampler = info_gain(confidence, bypass=0.45)
    alone = [decode(sampler, backbone, [p]) for p in PROMPTS]
    together = decode(sampler, backbone, PROMPTS)
    assert [row.nfe for row in together.rows] == [d.rows[0].nfe for d in alone]
    assert together.calls == max(d.calls for d in alone)
    for row in together.rows:
        ticks = row.trace["values"]
        branched = sum(sum(v is not None for v in t) for t in ticks if t is not None)
        bypassed = sum(t is None for t in ticks[:-1])
        assert row.nfe == 1 + branched + bypassed  # 1: entering the block
    assert any(t is None for row in together.rows for t in row.trace["values"][:-1])
    assert any(t is not None for row in together.rows for t in row.trace["values"])


def test_a_bypass_that_fills_too_few_carries_the_deficit_over(confidence, decode):
    """With K = 4 and a bypass that rarely finds four certain positions, the steps still suffice."""
    for row in decode(info_gain(confidence, Plan(tokens_per_step=4), bypass=0.3), ToyBackbone(), PROMPTS).rows:
        masks = sum(t >= 0 for t in row.order)
        assert max(row.order) + 1 <= -(-masks // 4)


def test_token_diversity_survives_merging(confidence, decode):
    """At a temperature two alternatives may share their positions and differ in their tokens."""
    seen = []

    class Spy(InfoGain):
        def __call__(self, step, actions, look):
            places = torch.where(actions.live[..., None], actions.place, False)
            same = (places[:, :, None] == places[:, None]).all(-1) & actions.live[:, :, None] & actions.live[:, None]
            seen.append(int(same.sum() - actions.live.sum()))
            return super().__call__(step, actions, look)

    sampler = replace(info_gain(confidence, temperature=1.5, position_temperature=0.01), lookahead=Spy())
    decode(sampler, ToyBackbone(), PROMPTS)
    assert sum(seen) > 0


def test_alternatives_are_distinct_and_the_greedy_one_comes_first(confidence, greedy, decode):
    class Spy(InfoGain):
        def __call__(self, step, actions, look):
            written = torch.where(actions.place, actions.tokens, -1)
            for b in range(len(written)):
                live = written[b][actions.live[b]].tolist()
                assert len({tuple(w) for w in live}) == len(live)
            single = greedy(step, confidence(step))
            several = actions.live.sum(1) > 1
            assert torch.equal(actions.place[several, 0], single.place[several, 0])
            return super().__call__(step, actions, look)

    decode(replace(info_gain(confidence, Plan(tokens_per_step=2)), lookahead=Spy()), ToyBackbone(), PROMPTS)


def test_the_same_seed_repeats_and_another_one_differs(confidence, decode):
    backbone, texts = ToyBackbone(), ["ab", "cd", "abc"]
    sampler = info_gain(confidence, Plan(length=12), temperature=1.0)
    first, again, other = (decode(sampler, backbone, texts, seed=s).tokens for s in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: Branch(candidates=0), "candidates=0"),
        (lambda: Branch(position_temperature=0.0), "position_temperature=0.0"),
        (lambda: Branch(bypass=1.5), "bypass=1.5"),
        (lambda: InfoGain(scope="blok"), "scope='blok'.*block, sequence"),
        (lambda: InfoGain(cost="entropie"), "cost='entropie'"),
    ],
)
def test_parameters_out_of_range_are_refused(part, words):
    from mdmkit import MdmkitError

    with pytest.raises(MdmkitError, match=words):
        part()
