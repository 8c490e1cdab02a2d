"""freedave equals its loop written in plain Python, and writes the tokens of its static sampler in fewer calls."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

import mdmkit
from mdmkit import Actions, Belief, Constraint, Draw, MdmkitError, MdmkitWarning, Plan, Sampler
from mdmkit.testing import ByConfidence, LookaheadContract, SelectContract, TakeQuota, ToyBackbone, make_step
from mdmkit_search.freedave import Drafts, Verified


class TestDrafts(SelectContract):
    component = Drafts


class TestDeepDrafts(SelectContract):
    def make(self):
        return Drafts(depth=9)


class TestOneDraft(SelectContract):
    def make(self):
        return Drafts(depth=1)


class TestVerified(LookaheadContract):
    component = Verified


class TestVerifiedByEntropy(LookaheadContract):
    def make(self):
        return Verified(by="entropy")


class TestVerifiedByMargin(LookaheadContract):
    def make(self):
        return Verified(by="margin")


def margin(p):
    best, second = sorted(p, reverse=True)[:2]
    return best - second


RANKS = {
    "confidence": max,
    "entropy": lambda p: sum(q * math.log(q) for q in p if q > 0),
    "margin": margin,
}


@dataclass(frozen=True)
class By:
    """The score of each name, as a part."""

    name: str

    def __call__(self, step):
        if self.name == "margin":
            return step.belief.top2[..., 0] - step.belief.top2[..., 1]
        return step.belief.confidence if self.name == "confidence" else -step.belief.entropy


def filled(state, belief, columns, count, mask, rank):
    """The state with the best tokens at the `count` best open positions of these columns; the first wins a tie."""
    open_ = [i for i in columns if state[i] == mask]
    best = sorted(open_, key=lambda i: (-rank(belief[i]), i))[:count]
    return [belief[i].index(max(belief[i])) if i in best else token for i, token in enumerate(state)]


def decode(literal, state, depth, k, block, rank):
    """One row: its tokens, and the order as {position: tick}."""
    mask, order, tick = literal.mask, {}, 0
    start = literal.masked(state)
    ends = range(start[0] + block, start[-1] + block + 1, block)
    belief = literal.probabilities(state)
    for columns in [[i for i in start if end - block <= i < end] for end in ends]:
        while left := sum(state[i] == mask for i in columns):
            drafts = [filled(state, belief, columns, k, mask, rank)]
            for j in range(2, depth + 1):
                if j * k < left:
                    drafts.append(filled(state, belief, columns, j * k, mask, rank))
            looked = len(drafts) > 1 or mask in drafts[0]
            beliefs = [literal.probabilities(draft) if looked else None for draft in drafts]
            best = 0
            while best + 1 < len(drafts):
                target = filled(drafts[best], beliefs[best], columns, k, mask, rank)
                if target != drafts[best + 1]:
                    break
                best += 1
            order |= {i: tick for i in columns if state[i] == mask != drafts[best][i]}
            state, belief = drafts[best], beliefs[best]
            tick += 1
    return state, order


PROMPTS = (("ab", 9), ("c__d_a_", 0), ("abcde", 11), ("_b_", 0))


def rows(sampler, backbone, prompts=PROMPTS):
    return mdmkit.decode(sampler, backbone, [{"prompt": text, "length": n} for text, n in prompts]).rows


@pytest.mark.parametrize("by", RANKS)
@pytest.mark.parametrize("depth", [1, 2, 4, 9])
@pytest.mark.parametrize(("k", "block"), [(1, 99), (1, 5), (2, 99), (3, 7)])
def test_freedave_equals_a_loop_over_drafts(literal, by, depth, k, block):
    sampler = Sampler(By(by), Drafts(depth), Verified(by), plan=Plan(block=block, tokens_per_step=k))
    for row, (text, n) in zip(rows(sampler, literal.backbone), PROMPTS, strict=True):
        literal.rows = 0
        state, order = decode(literal, literal.encode(text, n), depth, k, block, RANKS[by])
        shown = range(len(state)) if n == 0 else range(len(text), len(state))
        assert row.tokens == [state[i] for i in shown]
        assert row.order == [order.get(i, -1) for i in shown]
        assert row.nfe == literal.rows


def steps(row):
    return max(row.order) + 1


@pytest.mark.parametrize("by", RANKS)
@pytest.mark.parametrize("plan", [Plan(), Plan(tokens_per_step=2), Plan(block=4), Plan(block=8, tokens_per_step=2)])
def test_the_tokens_are_those_of_the_static_sampler_and_a_step_takes_one_call(by, plan):
    backbone, less = ToyBackbone(dtype=torch.float64), 0
    prompts = [("abcde"[i % 5 :] + "fgh"[: i % 4], 6 + i) for i in range(12)]
    static = rows(Sampler(By(by), TakeQuota(), plan=plan), backbone, prompts)
    for prompt, theirs in zip(prompts, static, strict=True):
        sampler = Sampler(By(by), Drafts(4), Verified(by), plan=plan)
        ours = mdmkit.decode(sampler, backbone, [{"prompt": prompt[0], "length": prompt[1]}])
        assert ours.rows[0].tokens == theirs.tokens
        assert ours.calls == steps(ours.rows[0]) <= steps(theirs) == theirs.nfe
        less += steps(theirs) - steps(ours.rows[0])
    assert less > 0, "no draft was accepted, so the test shows nothing"


class Even(ToyBackbone):
    """Every position has the same belief in every state."""

    def project(self, hidden):
        logits = super().project(hidden)
        return torch.zeros_like(logits) + torch.arange(self.vocab, dtype=logits.dtype)


@pytest.mark.parametrize("k", [1, 2])
def test_equal_positions_are_drafted_from_the_left_and_every_draft_is_accepted(k):
    plan = Plan(length=9 * k, tokens_per_step=k)
    (row,) = rows(Sampler(ByConfidence(), Drafts(4), Verified(), plan=plan), Even(), [("ab", 9 * k)])
    # Nine static steps: four, four, and the last one of the block, which needs no look.
    assert row.order == [0] * 4 * k + [1] * 4 * k + [2] * k
    assert row.nfe == 1 + 4 + 4


class Apart(Constraint):
    """No two neighbours at once: of an alternative's neighbours the left one stays."""

    def shape(self, logits, states, columns):
        return logits

    def settle(self, step, actions):
        keep, before = torch.zeros_like(actions.place), torch.zeros_like(actions.place[..., 0])
        for w in range(step.width):
            before = actions.place[..., w] & ~before
            keep[..., w] = before
        return replace(actions, place=keep)


class Local(ToyBackbone):
    """A position's belief depends on where it is, and a little on the token to its left: most drafts are right."""

    def forward(self, tokens, valid, conditioning, *, positions, **more):
        out = super().forward(tokens, valid, conditioning, positions=positions, **more)
        left = self.embedding[tokens.roll(1, 1)] * (positions > 0)[..., None]
        return replace(out, hidden=self.embedding[positions % self.vocab] + 0.3 * left)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_drafts_that_a_constraint_shortens_are_still_those_of_the_static_sampler(k):
    plan, prompts, less = Plan(tokens_per_step=k), [("abcdefgh"[:i], 10 + i) for i in range(1, 9)], 0
    for backbone in (ToyBackbone(dtype=torch.float64), Local(dtype=torch.float64)):
        static, drafted = (
            rows(Sampler(ByConfidence(), select, lookahead, constraint=Apart(), plan=plan), backbone, prompts)
            for select, lookahead in ((TakeQuota(), None), (Drafts(4), Verified()))
        )
        assert [row.tokens for row in drafted] == [row.tokens for row in static]
        less += sum(map(steps, static)) - sum(map(steps, drafted))
    assert less > 0


def test_draft_j_fills_the_best_positions_of_j_steps_and_counts_as_j():
    step = make_step()
    scores = step.confidence
    actions = Drafts(3)(step, scores)
    for b in range(step.rows):
        best = sorted(step.open[b].nonzero()[:, 0].tolist(), key=lambda w: (-scores[b, w].item(), w))
        quota = int(step.quota[b])
        for j in range(3):
            assert set(actions.place[b, j].nonzero()[:, 0].tolist()) == set(best[: quota + j] if best else [])
            assert bool(actions.live[b, j]) == (len(best) > quota + j or (j == 0 and len(best) > 0))
            assert actions.steps[b, j] == j + 1


def test_a_step_from_a_draft_that_a_constraint_shortened_fills_what_is_missing_too():
    """K is 1 and the quota 2. Draft 1 fills one position only, so the next static step fills two."""
    step = make_step().at(torch.tensor([0]))
    belief = Belief(torch.arange(13.0).expand(1, 3, step.width, 13))
    step = replace(step, open=torch.ones_like(step.open), quota=torch.tensor([2]))
    columns = torch.arange(step.width)

    def look(reduce, at=None):
        values = reduce(belief)
        return values if at is None else values.gather(-1, at[:, None].expand(-1, 3, -1))

    for count, value in ((2, 0.0), (3, 2.0), (4, 0.0)):
        place = torch.stack((columns < 1, columns < count, columns < 6))[None]
        actions = Actions(place, torch.full(place.shape, 12), torch.tensor([[True, True, False]]))
        assert Verified()(step, actions, look).tolist() == [[1.0, value, 0.0]]


@pytest.mark.parametrize(
    ("plan", "draw", "words"),
    [
        (Plan(steps=4), Draw(), r"plan\.steps=4.*set plan\.tokens_per_step instead"),
        (Plan(tokens_per_step=2), Draw(temperature=0.8), r"draws its tokens anew.*set draw\.temperature=0"),
    ],
)
def test_what_cannot_be_drafted_is_the_static_sampler_with_a_note(plan, draw, words):
    with pytest.warns(MdmkitWarning, match=words):
        drafted = rows(Sampler(ByConfidence(), Drafts(4), Verified(), plan=plan, draw=draw), ToyBackbone())
    static = rows(Sampler(ByConfidence(), TakeQuota(), plan=plan, draw=draw), ToyBackbone())
    assert [(r.tokens, r.order, r.nfe) for r in drafted] == [(r.tokens, r.order, r.nfe) for r in static]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: Drafts(depth=0), "depth=0"),
        (lambda: Drafts(depth=1025), "to 1024"),
        (lambda: Verified(by="margn"), "Did you mean 'margin'"),
    ],
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
