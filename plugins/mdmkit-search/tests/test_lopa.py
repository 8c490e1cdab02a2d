"""lopa equals its decoding loop written in plain Python."""

import pytest

import mdmkit
from mdmkit import MdmkitError, Plan, Sampler
from mdmkit.testing import ByConfidence, LookaheadContract, SelectContract
from mdmkit_search.lopa import BranchConfidence, Branches


class TestBranches(SelectContract):
    component = Branches


class TestManyBranches(SelectContract):
    def make(self):
        return Branches(branches=9, threshold=0.3)


class TestBranchConfidence(LookaheadContract):
    component = BranchConfidence


class TestWholeBranchConfidence(LookaheadContract):
    def make(self):
        return BranchConfidence(weight=0.0, lowest=1.0)


def decode(literal, state, branches, threshold, weight, lowest):
    """One row; the order as {position: tick}. A branch that stands alone is looked at where something is left."""
    order, belief, tick = {}, literal.probabilities(state), 0
    while masked := literal.masked(state):
        sure = {i: max(belief[i]) for i in masked}
        best = max(masked, key=lambda i: (sure[i], -i))
        anchor = {i for i in masked if sure[i] >= threshold} | {best}
        rest = sorted((i for i in masked if i not in anchor), key=lambda i: (-sure[i], i))
        ways = []
        for fork in [None, *rest[: branches - 1]]:
            places = anchor | ({fork} - {None})
            after = [belief[i].index(max(belief[i])) if i in places else token for i, token in enumerate(state)]
            ways.append((fork, places, after))
        rated = []
        for fork, places, after in ways:
            left = literal.masked(after)
            ahead = literal.probabilities(after) if left or len(ways) > 1 else None
            weakest = sorted(max(ahead[i]) for i in left)[: max(1, int(len(left) * lowest))] if left else [1.0]
            created = 1.0 if fork is None else sure[fork]
            rated.append(
                (weight * created + (1 - weight) * sum(weakest) / len(weakest), -len(rated), places, after, ahead)
            )
        _, _, places, state, belief = max(rated, key=lambda r: r[:2])
        order.update(dict.fromkeys(places, tick))
        tick += 1
    return state, order


@pytest.mark.parametrize(("branches", "threshold"), [(1, 0.4), (2, 0.9), (4, 0.4), (6, 0.3)])
@pytest.mark.parametrize(("weight", "lowest"), [(0.5, 0.5), (0.0, 1.0), (1.0, 0.3)])
def test_lopa_equals_a_loop_over_branches(literal, branches, threshold, weight, lowest):
    sampler = Sampler(ByConfidence(), Branches(branches, threshold), BranchConfidence(weight, lowest), plan=Plan())
    prompts = [("ab", 9), ("c__d_a_", 0), ("abcde", 7)]
    rows = mdmkit.decode(sampler, literal.backbone, [{"prompt": text, "length": n} for text, n in prompts]).rows
    for row, (text, n) in zip(rows, prompts, strict=True):
        literal.rows = 0
        state, order = decode(literal, literal.encode(text, n), branches, threshold, weight, lowest)
        shown = range(len(state)) if n == 0 else range(len(text), len(state))
        assert row.tokens == [state[i] for i in shown]
        assert row.order == [order.get(i, -1) for i in shown]
        assert row.nfe == literal.rows


def test_one_branch_is_threshold_decoding_and_more_need_no_more_steps(literal):
    steps = []
    for branches in (1, 4):
        sampler = Sampler(ByConfidence(), Branches(branches, 0.4), BranchConfidence(0.0, 1.0))
        rows = mdmkit.decode(
            sampler, literal.backbone, [{"prompt": "abcd"[:n], "length": 12} for n in range(1, 5)]
        ).rows
        steps.append(sum(max(row.order) + 1 for row in rows))
    assert steps[1] < steps[0]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: Branches(branches=0), "branches=0"),
        (lambda: Branches(threshold=1.1), "threshold=1.1"),
        (lambda: BranchConfidence(weight=2.0), "weight=2.0"),
        (lambda: BranchConfidence(lowest=0.0), "lowest=0.0"),
    ],
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
