"""What later parts will hang on, each held by a toy: the core is not to be opened again for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

import mdmkit
from mdmkit import (
    Actions,
    Commit,
    Constraint,
    Draw,
    Lookahead,
    MdmkitError,
    Output,
    Plan,
    Sampler,
    Search,
    Select,
    Stop,
    ops,
)
from mdmkit.testing import (
    ByConfidence,
    CommitContract,
    LeastEntropyLeft,
    NoiseToy,
    ScoreContract,
    Spread,
    TakeQuota,
    ToyBackbone,
    make_step,
)


def tokens_of(sampler, backbone, prompts, **options):
    decoded = mdmkit.decode(sampler, backbone, prompts, seed=5, **options)
    for index, prompt in enumerate(mdmkit.read_prompts(prompts, 5)):
        (alone,) = mdmkit.decode(sampler, backbone, [prompt], **options).rows
        row = decoded.rows[index]
        assert (alone.tokens, alone.order, alone.nfe, alone.stopped) == (row.tokens, row.order, row.nfe, row.stopped)
    return decoded


RAGGED = ["ab", {"prompt": "a", "length": 11}, "c__d_e", {"prompt": "abcdef", "length": 3}]


# -- several looks in one step ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TwoDeep(Lookahead):
    """Look at each next state, then at where its best token would lead: the least entropy after two moves."""

    def __call__(self, step, actions, look):
        tokens, open_ = step.states(actions)
        best = look(lambda belief: belief.argmax.double(), "sequence").long()  # [B, N, T]
        sure = look(lambda belief: belief.confidence, "sequence")
        rest = look.remaining("sequence")
        width = rest.shape[-1]
        place = ops.top(sure, rest, rest.any(-1).long())
        further = tokens.clone()
        further[..., :width] = torch.where(place, best, tokens[..., :width])
        left = open_.clone()
        left[..., :width] &= ~place
        again = look.again(further, left)
        ahead = again(lambda belief: belief.entropy, "sequence")
        return -torch.where(again.remaining("sequence"), ahead, 0.0).sum(-1)


def test_a_lookahead_may_look_twice_and_every_look_is_counted():
    once = tokens_of(Sampler(ByConfidence(), Spread(3), LeastEntropyLeft(), plan=Plan(length=6)), ToyBackbone(), RAGGED)
    twice = tokens_of(Sampler(ByConfidence(), Spread(3), TwoDeep(), plan=Plan(length=6)), ToyBackbone(), RAGGED)
    assert twice.calls > once.calls
    assert all(row.nfe > len(set(row.order)) for row in twice.rows if row.stopped == "length")


@dataclass(frozen=True)
class FirstAgain(Lookahead):
    """Look at each next state, then at the first one again: another number of states than before."""

    def __call__(self, step, actions, look):
        again = look.again(*(x[:, :1] for x in step.states(actions)))
        return LeastEntropyLeft()(step, actions, look) + again(lambda belief: belief.entropy).sum(-1)


@pytest.mark.parametrize("lookahead", [TwoDeep(), FirstAgain()], ids=lambda each: type(each).__name__)
def test_a_second_look_costs_a_row_the_same_whatever_the_rows_beside_it_do(lookahead):
    sampler = Sampler(ByConfidence(), Spread(3), lookahead)
    one, two = mdmkit.read_prompts([{"prompt": "ab", "length": 7}, {"prompt": "abc", "length": 9}], 3)
    alone = {prompt.index: mdmkit.decode(sampler, ToyBackbone(), [prompt]).rows[0] for prompt in (one, two)}
    for late in range(6):
        engine = mdmkit.Engine(sampler, ToyBackbone(), 2)
        engine.admit(one)
        ended = [each for _ in range(late) for each in engine.step()]
        engine.admit(two)
        for each in [*ended, *engine.drain()]:
            own = alone[each.row.index]
            assert (each.row.tokens, each.row.order, each.row.nfe) == (own.tokens, own.order, own.nfe)


def test_a_second_look_at_something_else_than_states_says_what_it_takes():
    @dataclass(frozen=True)
    class Wrong(TwoDeep):
        def __call__(self, step, actions, look):
            return look.again(step.tokens, step.open)

    @dataclass(frozen=True)
    class Misspelt(TwoDeep):
        def __call__(self, step, actions, look):
            return look(lambda belief: belief.entropy, "blok").sum(-1)

    for lookahead, said in (
        (Wrong(), r"Wrong failed at tick 1 .*look.again takes tokens int64 and open bool, both \[2, N, \d+\]"),
        (Misspelt(), "Misspelt failed at tick 1 .*unknown scope 'blok'. Did you mean 'block'"),
    ):
        with pytest.raises(MdmkitError, match=said):
            mdmkit.decode(
                Sampler(ByConfidence(), Spread(3), lookahead, plan=Plan(length=4)), ToyBackbone(), ["ab", "a"]
            )


# -- looks that are shared unevenly, and equal states that count once -------------------------------------------------


@dataclass(frozen=True)
class Lopsided(Search):
    """The first particle keeps all of its alternatives, the second one only; equal next states are looked at once."""

    particles: int = 2
    looks: ClassVar[bool] = True

    def prune(self, step, actions):
        gone = torch.zeros_like(actions.live)
        gone.view(-1, 2, gone.shape[1])[:, 1, 1:] = True
        return actions.without(gone)

    def move(self, step, actions, values, choice, look):
        return torch.arange(step.rows), choice

    def best(self, canvas, trace, kept):
        return trace.uncertainty.view(-1, 2).argmin(1)


def test_the_looks_of_a_step_may_be_shared_unevenly_among_particles():
    plan, draw = Plan(length=6), Draw(temperature=0.8)
    even = Sampler(ByConfidence(), Spread(4), LeastEntropyLeft(), plan=plan, draw=draw)
    found = tokens_of(Sampler(ByConfidence(), Spread(4), LeastEntropyLeft(), search=Lopsided(), plan=plan, draw=draw),
                      ToyBackbone(), RAGGED)  # fmt: skip
    assert sum(row.nfe for row in found.rows) < 2 * sum(row.nfe for row in tokens_of(even, ToyBackbone(), RAGGED).rows)


@dataclass(frozen=True)
class Merged(Search):
    """Particles that go for the best of their own alternatives; a state that two of them propose is looked at once."""

    merges: bool = True
    particles: int = 2
    looks: ClassVar[bool] = True

    def same(self, step, actions):
        """int64 [R, P·N]: the first of the row's proposed states that each of them equals."""
        tokens, open_ = (x.unflatten(0, (-1, self.particles)).flatten(1, 2) for x in step.states(actions))
        equal = (tokens[:, :, None] == tokens[:, None]) & (open_[:, :, None] == open_[:, None])
        real = actions.place.any(-1).view(len(tokens), -1)
        return (equal.all(-1) & real[:, None]).long().argmax(-1)

    def prune(self, step, actions):
        first = self.same(step, actions)
        again = first != torch.arange(first.shape[1])
        return actions.without(again.view_as(actions.live)) if self.merges else actions

    def move(self, step, actions, values, choice, look):
        n, first = actions.live.shape[1], self.same(step, actions)
        worth = torch.zeros(step.rows, n) if values is None else values.clamp_min(-1e9)  # a lone state is worth nothing
        own = worth.view(first.shape).gather(1, first).view(-1, n).masked_fill(~actions.place.any(-1), -torch.inf)
        best = own.argmax(1).view(-1, self.particles) + torch.arange(self.particles) * n
        found = first.gather(1, best)
        rows = torch.arange(len(first))[:, None] * self.particles
        return (rows + found // n).flatten(), (found % n).flatten()

    def best(self, canvas, trace, kept):
        return trace.uncertainty.view(-1, self.particles).argmin(1)


def test_a_state_that_two_particles_propose_is_looked_at_once():
    shared = {"plan": Plan(length=6, block=3)}
    apart, merged = (
        tokens_of(
            Sampler(ByConfidence(), Spread(3), LeastEntropyLeft(), search=Merged(merges), **shared),
            ToyBackbone(dtype=torch.float64),
            RAGGED,
        )
        for merges in (False, True)
    )
    assert merged.tokens == apart.tokens
    assert [row.order for row in merged.rows] == [row.order for row in apart.rows]
    # Without chance both particles propose the same at every step: half the looks, but for the first of each block.
    assert sum(row.nfe for row in merged.rows) < 0.65 * sum(row.nfe for row in apart.rows)


# -- columns that the others do not see ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verify(Commit):
    """Write; open again what the shadow of a place written earlier would hardly write there, once for each place."""

    below: float = 0.3
    rewrites: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("shadow_block",)

    def __call__(self, step, actions, choice):
        canvas = step.written(*actions.take(choice))
        doubted = step.recall("verify.doubted", like="window", fill=False, until="block")
        written = step.window(step.canvas.editable) & ~step.open & step.member & step.active[:, None]
        sure = step.shadow.logp_of(step.window(step.canvas.tokens)[..., None])[..., 0].exp()
        again = written & (sure < self.below) & ~doubted
        step.keep("verify.doubted", doubted | again)
        return canvas.reopened(step.spread(again))


@dataclass(frozen=True)
class ShadowConfidence(ByConfidence):
    """How sure the shadows of the open places are."""

    reads: ClassVar[tuple[str, ...]] = ("shadow",)

    def __call__(self, step):
        return step.shadow.confidence


class TestVerify(CommitContract):
    component = Verify


class TestShadowConfidence(ScoreContract):
    component = ShadowConfidence


def test_shadow_columns_let_a_commit_doubt_what_it_wrote():
    plan, draw = Plan(length=6, block=4), Draw(temperature=1.5)
    plain = tokens_of(Sampler(ByConfidence(), TakeQuota(), plan=plan, draw=draw), ToyBackbone(), RAGGED)
    found = tokens_of(
        Sampler(ByConfidence(), TakeQuota(), commit=Verify(), plan=plan, draw=draw), ToyBackbone(), RAGGED
    )
    assert sum(row.nfe for row in found.rows) > sum(row.nfe for row in plain.rows)  # something was doubted


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_the_shadow_of_an_open_place_says_what_the_place_says_and_costs_its_columns(guidance):
    shared = {"plan": Plan(length=6, block=4), "guidance": mdmkit.Guidance(guidance)}
    plain = tokens_of(Sampler(ByConfidence(), TakeQuota(), **shared), ToyBackbone(dtype=torch.float64), RAGGED)
    found = tokens_of(Sampler(ShadowConfidence(), TakeQuota(), **shared), ToyBackbone(dtype=torch.float64), RAGGED)
    assert found.tokens == plain.tokens
    assert [row.order for row in found.rows] == [row.order for row in plain.rows]
    assert found.nfe == plain.nfe
    blocks = [[min(4, 6 - start) for start in (0, 4)], [4, 4, 3]]  # of "ab", and of "a" with 11 masks: a forward a step
    for row, more, own in zip(plain.rows, found.rows, blocks, strict=False):
        assert more.row_tokens - row.row_tokens == sum(n * n for n in own) * (1 if guidance == 1.0 else 2)


class OneWidth(ToyBackbone):
    """Cannot pad, so rows of different lengths are never in one call."""

    pads = False


def test_shadows_of_several_calls_reach_their_own_rows():
    sampler = Sampler(ShadowConfidence(), TakeQuota(), plan=Plan(length=6, block=4))
    decoded = tokens_of(sampler, OneWidth(dtype=torch.float64), RAGGED)  # the longest row is not the last
    assert decoded.calls == sum(row.nfe for row in decoded.rows)


@dataclass(frozen=True)
class Swaps(Search):
    """Two particles that change places at every step."""

    particles: int = 2

    def move(self, step, actions, values, choice, look):
        other = torch.arange(step.rows) ^ 1
        return other, choice[other]

    def best(self, canvas, trace, kept):
        return torch.zeros(len(trace.uncertainty) // 2, dtype=torch.long)


@dataclass(frozen=True)
class Agrees(Commit):
    """Write; what the model says of a row, and the shadow of an open place, must be the row's own."""

    rewrites: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("shadow", "norm")

    def __call__(self, step, actions, choice):
        both = torch.stack((step.shadow.confidence, step.belief.confidence))[:, step.open]
        assert torch.allclose(both[0], both[1], atol=1e-6)
        assert torch.allclose(step.extra["norm"][step.open], step.belief.confidence[step.open], atol=1e-6)
        return step.written(*actions.take(choice))


class Confident(ToyBackbone):
    """Says how confident it is."""

    offers: ClassVar = {"norm": "column"}

    def forward(self, tokens, valid, conditioning, *, positions, cache=None, extras=(), **more):
        out = super().forward(tokens, valid, conditioning, positions=positions, **more)
        logits = self.project(out.hidden)
        logits[..., [0, self.mask_id, self.vocab - 1]] = -torch.inf
        return replace(out, extra={**(out.extra or {}), "norm": logits.softmax(-1).amax(-1)})


def test_what_is_known_of_a_particle_follows_it():
    sampler = Sampler(ByConfidence(), TakeQuota(), commit=Agrees(), search=Swaps(), draw=Draw(temperature=1.0))
    decoded = mdmkit.decode(sampler, Confident(dtype=torch.float64), RAGGED)
    assert len({tuple(row.tokens) for row in decoded.rows}) == len(RAGGED)


def test_an_extra_that_the_model_forgot_to_offer_is_named():
    class Forgets(Confident):
        offers: ClassVar = {}

    with pytest.raises(MdmkitError, match="returned the extra 'norm', which its `offers` do not name"):
        mdmkit.decode(Sampler(ByConfidence(), TakeQuota()), Forgets(), ["ab"])


def test_shadow_columns_are_refused_where_the_model_has_none_or_parts_want_two_kinds():
    sampler = Sampler(ShadowConfidence(), TakeQuota(), plan=Plan(length=4))
    with pytest.raises(MdmkitError, match="reads 'shadow', and backbone 'NoiseToy' does not offer it"):
        mdmkit.decode(sampler, NoiseToy(), ["ab"])
    both = Sampler(ShadowConfidence(), TakeQuota(), commit=Verify(), plan=Plan(length=4))
    with pytest.raises(MdmkitError, match="a forward holds shadow columns of one kind"):
        mdmkit.decode(both, ToyBackbone(), ["ab"])


def test_a_part_that_asks_for_no_shadows_and_reads_them_is_told_how_to_ask():
    @dataclass(frozen=True)
    class Forgot(ByConfidence):
        def __call__(self, step):
            return step.shadow.confidence

    with pytest.raises(MdmkitError, match=r'write reads = \("shadow",\)'):
        mdmkit.decode(Sampler(Forgot(), TakeQuota(), plan=Plan(length=4)), ToyBackbone(), ["ab"])


# -- a row that grows -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expand(Commit):
    """Write; as long as there is room, bring one place more into each row that has just filled its last one."""

    rewrites: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def __call__(self, step, actions, choice):
        canvas = step.written(*actions.take(choice))
        grown = step.recall("expand", fill=0)
        wants = ~canvas.open.any(1) & (grown < step.plan.room) & step.active
        step.keep("expand", grown + wants)
        next_ = torch.arange(canvas.valid.shape[1]) == canvas.lengths[:, None]
        return canvas.grown(next_ & wants[:, None])


@pytest.mark.parametrize("block", [None, 4, 3])
def test_a_row_may_grow_up_to_the_room_it_was_admitted_with(block):
    sampler = Sampler(ByConfidence(), TakeQuota(), commit=Expand(), plan=Plan(length=4, room=3, block=block))
    decoded = tokens_of(sampler, ToyBackbone(), ["ab", {"prompt": "abc", "length": 6}])
    assert [len(row.tokens) for row in decoded.rows] == [7, 9]
    assert all(tick >= 0 for row in decoded.rows for tick in row.order)


@dataclass(frozen=True)
class Sure(Stop):
    """End a row that is sure of all that is open; every open position must have a belief of its own."""

    def __call__(self, step):
        believed = step.window(step.canvas.valid) & step.member
        assert not bool((step.open & ~believed).any()) and bool(step.belief.entropy[step.open].isfinite().all())
        grown = step.recall("sure.length", fill=0)
        step.keep("sure.length", step.canvas.lengths)
        assert not bool((step.open & (step.position >= grown[:, None]) & (grown > 0)[:, None]).any())
        return torch.zeros_like(step.active)


def test_a_rule_sees_no_position_whose_belief_no_forward_has_computed():
    sampler = Sampler(ByConfidence(), TakeQuota(), commit=Expand(), stop=Sure(), plan=Plan(length=4, room=3))
    decoded = tokens_of(sampler, ToyBackbone(), ["ab", {"prompt": "abc", "length": 6}])
    assert [len(row.tokens) for row in decoded.rows] == [7, 9]


@dataclass(frozen=True)
class OpensZeros(Commit):
    """Write; as long as the block is full, open its first position again."""

    rewrites: ClassVar[bool] = True
    lingers: ClassVar[int] = 3

    def __call__(self, step, actions, choice):
        canvas = step.written(*actions.take(choice))
        first = step.member & (step.member.cumsum(1) == 1) & (step.full | ~step.open.any(1))[:, None]
        return canvas.reopened(step.spread(first & step.active[:, None]))


def test_a_position_that_is_opened_again_is_a_change_whatever_token_it_held():
    class OnlyZeros(NoiseToy):
        def __init__(self):
            super().__init__()
            self.forbidden = ()

        def project(self, hidden):
            logits = super().project(hidden)
            logits[..., 0] += 1e3
            return logits

    sampler = Sampler(ByConfidence(), TakeQuota(), commit=OpensZeros())
    zeros, others = (mdmkit.decode(sampler, toy(), [{"prompt": "ab", "length": 4}]) for toy in (OnlyZeros, NoiseToy))
    assert zeros.tokens == [[0] * 4]
    assert zeros.nfe == others.nfe


@dataclass(frozen=True)
class Shorten(Commit):
    """Write, and in its first two steps remove the row's last position, which is open."""

    rewrites: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def __call__(self, step, actions, choice):
        canvas = step.written(*actions.take(choice))
        last = torch.arange(canvas.valid.shape[1]) == canvas.lengths[:, None] - 1
        return canvas.without(last & canvas.open & (step.tick < 2)[:, None])


def test_positions_that_a_commit_removes_are_neither_filled_nor_shown():
    class FromTheLeft(ByConfidence):
        def __call__(self, step):
            return -step.position.float()

    sampler = Sampler(FromTheLeft(), TakeQuota(), commit=Shorten(), plan=Plan(length=5))
    decoded = tokens_of(sampler, ToyBackbone(), ["ab", {"prompt": "abc", "length": 7}])
    assert [len(row.tokens) for row in decoded.rows] == [3, 5]
    assert [row.order for row in decoded.rows] == [[0, 1, 2], [0, 1, 2, 3, 4]]
    assert [len(row.text) for row in decoded.rows] == [3, 5]
    assert [len(row.trace["tokens"]) for row in decoded.rows] == [2 + 3, 3 + 5]


def test_room_that_no_commit_uses_is_refused():
    with pytest.raises(MdmkitError, match=r"plan\.room=3 lets a row grow, and commit Write never brings a place"):
        mdmkit.decode(Sampler(ByConfidence(), TakeQuota(), plan=Plan(length=4, room=3)), ToyBackbone(), ["ab"])


def test_a_row_cannot_grow_in_a_model_that_reads_every_place():
    class Unpadded(ToyBackbone):
        pads = False

    sampler = Sampler(ByConfidence(), TakeQuota(), commit=Shorten(), plan=Plan(length=4, room=3))
    with pytest.raises(MdmkitError, match=r"plan\.room=3 lets a row grow, and this model takes no attention mask"):
        mdmkit.decode(sampler, Unpadded(), ["ab"])


# -- steps that an alternative stands for -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Nested(Select):
    """Drafts of one and of two steps of the plan; the second is what two steps of the first would write."""

    alternatives: ClassVar[int] = 2

    def __call__(self, step, scores):
        one = ops.top(scores, step.open, step.quota)
        two = ops.top(scores, step.open, 2 * step.quota)
        place = torch.stack((one, two), 1)
        live = torch.stack((one.any(-1), two.sum(-1) > one.sum(-1)), 1)
        steps = torch.ones_like(live, dtype=torch.long)
        steps[:, 1] = 2
        return Actions(place, step.tokens[:, None].expand(-1, 2, -1), live, steps)


@dataclass(frozen=True)
class Deepest(Lookahead):
    """Take the deepest draft."""

    def __call__(self, step, actions, look):
        return actions.place.sum(-1).float()


def test_a_draft_of_two_steps_uses_up_two_steps_of_the_schedule():
    for schedule in ("linear", "cosine"):
        plan = Plan(length=9, steps=6, schedule=schedule)
        decoded = tokens_of(Sampler(ByConfidence(), Nested(), Deepest(), plan=plan), ToyBackbone(), RAGGED)
        for row in decoded.rows:
            assert len({tick for tick in row.order if tick >= 0}) <= 4


@dataclass(frozen=True)
class Overtaken(Search):
    """Particle 0 takes drafts of one step and particle 1 of two, until particle 0 becomes a copy of the other."""

    particles: int = 2
    chooses: ClassVar[bool] = True

    def move(self, step, actions, values, choice, look):
        own = torch.arange(step.rows)
        parents = torch.where(step.tick == 1, own // 2 * 2 + 1, own)
        wanted = own % 2
        return parents, torch.where(actions.live[parents].gather(1, wanted[:, None])[:, 0], wanted, 0)

    def best(self, canvas, trace, kept):
        return torch.zeros(len(canvas.tokens) // 2, dtype=torch.long)


def test_a_copy_has_used_the_steps_of_the_plan_that_its_parent_used():
    """With a token a step, a particle has used as many steps of the plan as it has filled positions."""
    used = []

    class ByTaken(ByConfidence):
        def __call__(self, step):
            filled = (step.member & ~step.open).sum(1)
            used.append(torch.stack((step.taken, filled), 1)[step.open.any(1)].tolist())
            return super().__call__(step)

    sampler = Sampler(ByTaken(), Nested(), search=Overtaken(), plan=Plan(length=8))
    mdmkit.decode(sampler, ToyBackbone(), ["ab"])
    assert used[:3] == [[[0, 0], [0, 0]], [[1, 1], [2, 2]], [[3, 3], [4, 4]]]
    assert all(taken == filled for step in used for taken, filled in step)


# -- what a model gives beside its hidden states ----------------------------------------------------------------------


class Telling(ToyBackbone):
    """Also gives the first number of each position's state, and remembers how often a state was looked at."""

    offers: ClassVar = {"norm": "column", "depth": "row"}
    feeds_back = True
    heard: list

    def forward(self, tokens, valid, conditioning, *, positions, cache=None, extras=(), previous=None):
        hidden = super().forward(tokens, valid, conditioning, positions=positions).hidden
        before = torch.zeros(len(tokens)) if previous is None else previous["depth"]
        self.heard.append((tuple(extras), before.tolist()))
        return Output(hidden, {"norm": hidden[..., 0], "depth": before + 1})


@dataclass(frozen=True)
class ByNorm:
    """Fill where that number is largest."""

    reads: ClassVar[tuple[str, ...]] = ("norm",)

    def __call__(self, step):
        assert step.extra is not None and step.extra["norm"].shape == step.open.shape
        return step.extra["norm"]


@pytest.mark.parametrize("several", [False, True])
def test_extras_reach_the_stages_and_the_next_forward(several):
    backbone = Telling()
    backbone.heard = []
    stages = (ByNorm(), Spread(3), LeastEntropyLeft()) if several else (ByNorm(), TakeQuota())
    tokens_of(Sampler(*stages, plan=Plan(length=6, block=3)), backbone, RAGGED)
    assert {extras for extras, _ in backbone.heard} == {("norm",)}
    depths = [max(before) for _, before in backbone.heard]
    assert depths[0] == 0 and max(depths) >= 5  # a row's sixth forward has heard of five


def test_an_extra_that_the_model_does_not_offer_is_refused_before_the_first_forward():
    with pytest.raises(MdmkitError, match=r"score ByNorm reads 'norm', and backbone 'ToyBackbone' does not offer"):
        mdmkit.decode(Sampler(ByNorm(), TakeQuota(), plan=Plan(length=4)), ToyBackbone(), ["ab"])


# -- a stop rule ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AfterTicks(Stop):
    """End each row after its third step."""

    fill: ClassVar[str] = "leave"
    ticks: int = 3

    def __call__(self, step):
        made = step.recall("after_ticks", fill=0) + 1
        step.keep("after_ticks", made)
        return made >= self.ticks


@dataclass(frozen=True)
class AfterTicksFill(AfterTicks):
    fill: ClassVar[str] = "best"


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("fill", ["leave", "best"])
def test_a_rule_that_ends_rows_is_asked_once_a_step_and_costs_no_forward_that_nobody_reads(fill, several):
    stop = AfterTicks() if fill == "leave" else AfterTicksFill()
    stages = (ByConfidence(), Spread(3), LeastEntropyLeft()) if several else (ByConfidence(), TakeQuota())
    decoded = tokens_of(Sampler(*stages, stop=stop, plan=Plan(length=8, block=4)), ToyBackbone(), RAGGED)
    row = decoded.rows[1]
    assert row.stopped == type(stop).__name__
    written = [tick for tick in row.order if tick >= 0]
    if fill == "leave":
        assert sorted(written) == [0, 1, 2]
        assert several or row.nfe == 3
    else:
        assert sorted(set(written)) == [0, 1, 2, 3] and len(written) == 11
        assert several or row.nfe == 4


def test_a_rule_is_asked_once_about_a_row_with_one_next_state_beside_rows_that_compare():
    """A row that joins late has one next state at first, and the rule about it is asked before the forward."""
    sampler = Sampler(ByConfidence(), Spread(3), LeastEntropyLeft(), stop=AfterTicks(), plan=Plan(length=8))
    engine = mdmkit.Engine(sampler, ToyBackbone(), 3)
    ended = []
    for text in ("ab", "cd", "ef"):
        engine.admit(mdmkit.Prompt(text=text))
        ended += engine.step()
    ended += engine.drain()
    assert [sorted(tick for tick in each.row.order if tick >= 0) for each in ended] == [[0, 1, 2]] * 3


@dataclass(frozen=True)
class AllAfter(Select):
    """Fill a position in each of some steps, and then everything."""

    ticks: int = 3

    def __call__(self, step, scores):
        count = torch.where(step.tick < self.ticks, step.quota, step.open.sum(1))
        return Actions.single(ops.top(scores, step.open, count), step.tokens)


@pytest.mark.parametrize("draw", [{}, {"repetition_penalty": 4.0}, {"penalty": {2: 3.0}, "suppress": (5,)}])
@pytest.mark.parametrize(("toy", "guidance"), [(ToyBackbone, 1.0), (ToyBackbone, 2.0), (NoiseToy, 1.0)])
def test_what_fills_a_row_that_a_rule_ended_is_what_one_more_step_would_write(draw, toy, guidance):
    shared = {"plan": Plan(length=9), "draw": Draw(**draw), "guidance": mdmkit.Guidance(guidance)}
    asked, backbone = ["ab", "hgfe", {"prompt": "c", "length": 6}], toy(dtype=torch.float64)
    ended = mdmkit.decode(Sampler(ByConfidence(), TakeQuota(), stop=AfterTicksFill(), **shared), backbone, asked)
    stepped = mdmkit.decode(Sampler(ByConfidence(), AllAfter(), **shared), backbone, asked)
    assert ended.tokens == stepped.tokens
    assert [row.nfe for row in ended.rows] == [row.nfe for row in stepped.rows]
    for one, other in zip(ended.rows, stepped.rows, strict=True):
        assert one.order == other.order
        assert one.trace["confidence"] == pytest.approx(other.trace["confidence"])
        assert one.uncertainty == pytest.approx(other.uncertainty)


# -- a model without a mask -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [False, True])
def test_a_model_without_a_mask_decodes_and_its_noise_is_the_rows_own(several):
    stages = (ByConfidence(), Spread(3), LeastEntropyLeft()) if several else (ByConfidence(), TakeQuota())
    prompts = [{"prompt": "ab", "length": 6}, {"prompt": "abc", "length": 9}]
    decoded = tokens_of(Sampler(*stages, plan=Plan(block=4)), NoiseToy(), prompts)
    assert [len(row.tokens) for row in decoded.rows] == [6, 9]


def test_what_needs_a_mask_is_refused_for_a_model_without_one():
    sampler = Sampler(ByConfidence(), TakeQuota(), guidance=mdmkit.Guidance(2.0))
    with pytest.raises(MdmkitError, match="masks the prompt, and backbone 'NoiseToy' has no mask"):
        mdmkit.decode(sampler, NoiseToy(), [{"prompt": "ab", "length": 4}])


# -- data that looks like the mask ------------------------------------------------------------------------------------


def test_a_given_token_with_the_masks_id_is_data():
    backbone = ToyBackbone()
    prompt = {"prompt_ids": [1, backbone.mask_id, 2], "length": 4, "infill": False}
    (row,) = tokens_of(Sampler(ByConfidence(), TakeQuota()), backbone, [prompt]).rows
    assert row.trace["tokens"][1] == backbone.mask_id and len(row.tokens) == 4


# -- a constraint, and a rule that fills what is open -----------------------------------------------------------------


class Settles(Constraint):
    def shape(self, logits, states, columns):
        return logits

    def settle(self, step, actions):
        return actions


def test_a_rule_that_fills_at_once_does_the_same_beside_a_constraint_that_changes_nothing():
    plan = Plan(length=8, logprobs="reveal")
    rows = [
        tokens_of(Sampler(ByConfidence(), TakeQuota(), stop=AfterTicksFill(), plan=plan, **more), ToyBackbone(), RAGGED)
        for more in ({}, {"constraint": Settles()})
    ]
    for free, settled in zip(*(each.rows for each in rows), strict=True):
        assert (free.tokens, free.order, free.nfe) == (settled.tokens, settled.order, settled.nfe)
        for name in ("confidence", "entropy"):
            assert free.trace[name] == pytest.approx(settled.trace[name], abs=1e-5), name
        assert free.logprobs["logprob"] == pytest.approx(settled.logprobs["logprob"], abs=1e-5)
        assert free.logprobs["rank"] == settled.logprobs["rank"]


# -- what is remembered under one name --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("again", "words"),
    [
        ({"fill": 1}, "asks for fill=1, and it was made with fill=0"),
        ({"fill": 0.0}, "dtype=torch.float32, and it was made with dtype=torch.int64"),
        ({"shape": (2,)}, "shape=(2,), and it was made with shape=()"),
        ({"dtype": torch.float64}, "dtype=torch.float64, and it was made with dtype=torch.int64"),
        ({"like": "window"}, "like='window', and it was made with like='row'"),
        ({"until": "block"}, "until='block', and it was made with until='row'"),
    ],
)
def test_a_name_that_is_recalled_in_two_ways_is_an_error(again, words):
    step = make_step(0)
    first = step.recall("mine")
    assert torch.equal(step.recall("mine", fill=0, dtype=torch.int64), first)
    with pytest.raises(MdmkitError) as caught:
        step.recall("mine", **again)
    assert words in str(caught.value)


def test_a_fill_that_is_no_number_is_refused():
    with pytest.raises(MdmkitError, match=r"fill=None.*`fill` is a number or a bool"):
        make_step(0).recall("mine", fill=None)
