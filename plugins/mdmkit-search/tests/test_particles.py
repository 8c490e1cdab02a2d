"""best_of_n and esmc: each equals particles that are run one by one, in plain Python."""

import math

import pytest
import torch

import mdmkit
from mdmkit import Draw, MdmkitError, Plan, Prompt, Sampler, noise
from mdmkit.loop.particles import expand
from mdmkit.testing import ByConfidence, SearchContract, TakeQuota, ToyBackbone
from mdmkit_search.best_of_n import BestOfN
from mdmkit_search.esmc import EntropySMC
from mdmkit_search.resampling import resample

TEMPERATURE = 0.8


class TestBestOfN(SearchContract):
    component = BestOfN


class TestEBoN(SearchContract):
    def make(self):
        return BestOfN(particles=3, by="entropy")


class TestEntropySMC(SearchContract):
    component = EntropySMC


class TestMultinomialSMC(SearchContract):
    def make(self):
        return EntropySMC(particles=3, every=1, strength=30.0, resampling="multinomial")


def seeds(seed, particles):
    canvas, _ = ToyBackbone().encode([Prompt(text="ab", seed=seed)], Plan(length=4))
    return expand(canvas, particles).seed.tolist()


def sampler(search, plan):
    return Sampler(ByConfidence(), TakeQuota(), search=search, plan=plan, draw=Draw(temperature=TEMPERATURE))


class Particle:
    """One trajectory of confidence decoding with drawn tokens, a forward at a time."""

    def __init__(self, literal, state):
        self.literal, self.state, self.order = literal, state, [-1] * len(state)
        self.belief, self.spent, self.path = literal.probabilities(state), 0.0, []

    def step(self, seed, tick, k):
        literal, masked = self.literal, self.literal.masked(self.state)
        tokens = literal.drawn(self.belief, seed, tick, TEMPERATURE)
        self.path.append(literal.uncertainty(self.state, self.belief))
        best = sorted(masked, key=lambda i: (-self.belief[i][tokens[i]], i))[:k]
        self.state, self.order = list(self.state), list(self.order)
        for i in best:
            self.spent += -sum(q * math.log(q) for q in self.belief[i] if q > 0)
            self.state[i], self.order[i] = tokens[i], tick
        if literal.masked(self.state):
            self.belief = literal.probabilities(self.state)

    def copy(self):
        twin = object.__new__(Particle)
        twin.__dict__.update(self.__dict__, path=list(self.path))
        return twin

    @property
    def mean(self):
        return sum(self.path) / len(self.path)


@pytest.mark.parametrize("by", ["uncertainty", "entropy"])
@pytest.mark.parametrize("k", [1, 3])
def test_best_of_n_equals_trajectories_run_one_by_one(literal, by, k):
    length, differ = 7, 0
    for seed in range(4):
        literal.rows = 0
        particles = [Particle(literal, literal.encode("ab", length)) for _ in range(4)]
        for own, particle in zip(seeds(seed, 4), particles, strict=True):
            for tick in range(-(-length // k)):
                particle.step(own, tick, k)
        answer = min(particles, key=lambda p: p.spent if by == "uncertainty" else p.mean)
        other = min(particles, key=lambda p: p.mean if by == "uncertainty" else p.spent)
        differ += answer.state != other.state
        search = BestOfN(particles=4, by=by)
        plan = Plan(length=length, tokens_per_step=k)
        (row,) = mdmkit.decode(sampler(search, plan), literal.backbone, [{"prompt": "ab", "seed": seed}]).rows
        assert (row.tokens, row.order) == (answer.state[2:], answer.order[2:])
        assert row.uncertainty == pytest.approx(answer.spent, abs=1e-9)
        assert row.nfe == literal.rows == 4 * -(-length // k)
    assert differ, "the two measures never disagree here, so the test cannot tell them apart"


def ancestors(weights, method, seed, age):
    """Which particles continue, drawn one by one."""
    draws = 1 if method == "systematic" else len(weights)
    counters = torch.tensor([seed]), torch.tensor([age]), "resample", draws, torch.zeros(1, 1, dtype=torch.long)
    uniform = noise.uniform(*counters)[0, :, 0].tolist()
    points = uniform if method == "multinomial" else [(i + uniform[0]) / len(weights) for i in range(len(weights))]
    out, total = [], sum(weights)
    for point in points:
        ladders = [sum(weights[: i + 1]) / total for i in range(len(weights))]
        out.append(next(i for i, ladder in enumerate(ladders) if ladder > point))
    return out


@pytest.mark.parametrize("method", ["systematic", "multinomial"])
@pytest.mark.parametrize(("k", "every"), [(1, 1), (1, 3), (2, 2)])
def test_esmc_equals_particles_run_one_by_one(literal, method, k, every):
    length, moved = 8, 0
    for seed in range(4):
        literal.rows = 0
        particles = [Particle(literal, literal.encode("ab", length)) for _ in range(4)]
        for tick in range(-(-length // k)):
            for own, particle in zip(seeds(seed, 4), particles, strict=True):
                particle.step(own, tick, k)
            if (tick + 1) % every == 0 and literal.masked(particles[0].state):
                weights = [math.exp(-20.0 * literal.uncertainty(p.state, p.belief)) for p in particles]
                drawn = ancestors(weights, method, seed, tick + 1)
                moved += drawn != [0, 1, 2, 3]
                particles = [particles[i].copy() for i in drawn]
        answer = min(particles, key=lambda p: p.mean)
        search = EntropySMC(particles=4, every=every, strength=20.0, resampling=method)
        plan = Plan(length=length, tokens_per_step=k)
        (row,) = mdmkit.decode(sampler(search, plan), literal.backbone, [{"prompt": "ab", "seed": seed}]).rows
        assert (row.tokens, row.order) == (answer.state[2:], answer.order[2:])
        assert row.uncertainty == pytest.approx(answer.spent, abs=1e-9)
        assert row.nfe == literal.rows == 4 * -(-length // k)
    assert moved > 3


def test_one_particle_and_no_preference_are_the_plain_sampler():
    """With equal weights systematic resampling changes nothing, so the particles are those of best of N."""
    prompts, plan = ["ab", "c__d"], Plan(length=8, block=3)
    plain = mdmkit.decode(sampler(None, plan), ToyBackbone(), prompts)
    for one in (EntropySMC(particles=1, every=1), BestOfN(particles=1)):
        assert mdmkit.decode(sampler(one, plan), ToyBackbone(), prompts).tokens == plain.tokens
    idle = mdmkit.decode(sampler(EntropySMC(every=1, strength=0.0), plan), ToyBackbone(), prompts)
    assert idle.tokens == mdmkit.decode(sampler(BestOfN(by="entropy"), plan), ToyBackbone(), prompts).tokens


def test_resampling_draws_in_proportion_to_the_weights():
    weights = torch.tensor([[0.5, 0.1, 0.0, 0.4]], dtype=torch.float64).expand(4000, -1)
    seed, tick = torch.arange(4000), torch.full((4000,), 3)
    for method in ("systematic", "multinomial"):
        drawn = resample(weights, method, seed, tick)
        share = torch.nn.functional.one_hot(drawn, 4).double().mean((0, 1))
        assert share.tolist() == pytest.approx([0.5, 0.1, 0.0, 0.4], abs=0.02)
    counts = torch.nn.functional.one_hot(resample(weights, "systematic", seed, tick), 4).sum(1)
    assert counts[:, 0].eq(2).all(), "half of the weight is exactly two of four particles"
    assert set(counts[:, 3].tolist()) == {1, 2}


@pytest.mark.parametrize("search", [BestOfN(by="entropy"), EntropySMC(every=1)])
def test_a_prompt_without_masks_is_left_alone(search):
    (row,) = mdmkit.decode(
        sampler(search, Plan(length=None)), ToyBackbone(), [{"prompt": "a_b", "infill": False, "length": 0}]
    ).rows
    assert row.nfe == 0


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: BestOfN(particles=0), "particles=0"),
        (lambda: BestOfN(by="luck"), "by='luck'.*uncertainty, entropy"),
        (lambda: EntropySMC(every=0), "every=0"),
        (lambda: EntropySMC(strength=-1.0), "strength=-1.0"),
        (lambda: EntropySMC(resampling="residual"), "resampling='residual'"),
    ],
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
