"""Search: particles in the same loop, their traces, their cost, and that what belongs to a particle moves along."""

import runpy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

import mdmkit
from mdmkit import Draw, Guidance, MdmkitError, Plan, Sampler, Stop
from mdmkit.canvas.prompt import Prompt
from mdmkit.stage.write import Write
from mdmkit.testing import ByConfidence, LeastEntropyLeft, SearchContract, Spread, TakeQuota, ToyBackbone

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "hooks" / "search.py"))
Calmest = EXAMPLE["Calmest"]


class TestCalmest(SearchContract):
    component = Calmest


@dataclass(frozen=True)
class Restless:
    """At every step the particles of a row change places, and a note of each row's own goes along."""

    particles: int = 3

    def move(self, step, actions, values, choice, look):
        step.keep("restless.seen", step.recall("restless.seen", "column", fill=0))
        return self._turn(torch.arange(step.rows, device=choice.device)), choice[
            self._turn(torch.arange(step.rows, device=choice.device))
        ]

    def best(self, canvas, trace, kept):
        return torch.zeros(len(canvas.tokens) // self.particles, dtype=torch.long)

    def _turn(self, rows):
        return rows // self.particles * self.particles + (rows + 1) % self.particles


class TestRestless(SearchContract):
    component = Restless


def sampler(search, lookahead=False, cache="auto", **draw):
    stages = (ByConfidence(), Spread(3), LeastEntropyLeft()) if lookahead else (ByConfidence(), TakeQuota())
    return Sampler(*stages, search=search, plan=Plan(length=8, block=4), draw=Draw(**draw), cache=cache)


@pytest.fixture
def backbone():
    return ToyBackbone(dtype=torch.float64)


@pytest.mark.parametrize("lookahead", [False, True])
def test_one_particle_is_the_plain_sampler(backbone, lookahead):
    plain = mdmkit.decode(sampler(None, lookahead, temperature=0.8), backbone, ["ab", "c__d"])
    one = mdmkit.decode(sampler(Calmest(1), lookahead, temperature=0.8), backbone, ["ab", "c__d"])
    assert [row.json() for row in one.rows] == [row.json() for row in plain.rows]
    assert [row.trace for row in one.rows] == [row.trace for row in plain.rows]


@pytest.mark.parametrize("lookahead", [False, True])
def test_the_best_of_four_is_the_best_of_its_four(backbone, lookahead):
    """Each particle's decode is that of a row with the particle's seed."""
    from mdmkit.loop.particles import expand

    canvas, _ = backbone.encode([Prompt(text="ab", seed=7)], Plan(length=8))
    seeds = expand(canvas, 4).seed.tolist()
    assert seeds[0] == 7
    assert len(set(seeds)) == 4
    base = sampler(None, lookahead, temperature=0.9)
    each = mdmkit.decode(base, backbone, [{"prompt": "ab", "seed": seed} for seed in seeds]).rows
    (row,) = mdmkit.decode(
        sampler(Calmest(4), lookahead, temperature=0.9), backbone, [{"prompt": "ab", "seed": 7}]
    ).rows
    best = min(each, key=lambda row: row.uncertainty)
    assert (row.tokens, row.uncertainty, row.order) == (best.tokens, best.uncertainty, best.order)
    assert row.trace["choices"] == best.trace["choices"]
    assert row.trace["values"] == best.trace["values"]
    assert row.nfe == sum(other.nfe for other in each)
    assert len({tuple(other.tokens) for other in each}) > 1


def test_a_particle_that_moved_has_the_past_of_its_parents(backbone):
    """Turning three particles at every step, the answer's line goes through all of them, and replays as one."""
    (row,) = mdmkit.decode(sampler(Restless()), backbone, [{"prompt": "ab", "seed": 3}]).rows
    (plain,) = mdmkit.decode(sampler(None), backbone, [{"prompt": "ab", "seed": 3}]).rows
    # At temperature 0 all particles are copies, so the turning must leave no trace at all.
    assert (row.tokens, row.order) == (plain.tokens, plain.order)
    assert row.uncertainty == pytest.approx(plain.uncertainty)
    assert row.trace["choices"] == plain.trace["choices"]
    assert row.nfe == 3 * plain.nfe


def test_the_values_of_a_trace_are_those_of_the_particles_that_the_answer_was_copied_from(backbone):
    moves = []

    class Noted(Restless):
        def move(self, step, actions, values, choice, look):
            parents, moved = super().move(step, actions, values, choice, look)
            moves.append((parents.tolist(), values))
            return parents, moved

    (row,) = mdmkit.decode(sampler(Noted(), lookahead=True, temperature=1.0), backbone, ["ab"]).rows
    particle, line = 0, []
    for parents, values in reversed(moves):
        particle = parents[particle]
        line.insert(0, None if values is None else values[particle].tolist())
    compared = 0
    for found, wanted in zip(row.trace["values"], line, strict=True):
        if found is not None:
            compared += 1
            assert [value for value in found if value is not None] == pytest.approx(
                [value for value in wanted if value > -float("inf")], abs=1e-5
            )
    assert compared >= 3


GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize(("name", "caches"), [("llada", ("none", "prefix", "dual")), ("sdar", ("none", "block"))])
def test_frozen_columns_follow_their_particles(name, caches, guidance):
    """Particles with different texts change places; under a cache that is exact, or always fresh, nothing changes."""
    model = mdmkit.load(str(GOLDEN / name), device="cpu")
    prompts = [
        {"prompt_ids": [5, 6, 7], "seed": 1, "length": 9},
        {"prompt_ids": [50, 61, 72, 8, 9], "seed": 2, "length": 12},
    ]
    results = []
    for cache in caches:
        every = 1 if cache in ("prefix", "dual") else None
        plan = Plan(block=4, early_stop=False)
        moving = Sampler(
            ByConfidence(),
            TakeQuota(),
            search=Restless(),
            plan=plan,
            draw=Draw(temperature=1.0),
            guidance=Guidance(guidance),
            cache=cache,
            refresh_every=every,
        )
        results.append(mdmkit.decode(moving, model, prompts).tokens)
    assert all(tokens == results[0] for tokens in results)


@dataclass(frozen=True)
class Diarist(Restless):
    """Notes where each particle began, which moves along, and how many moves it has made, which it writes anew."""

    def move(self, step, actions, values, choice, look):
        parents, choice = super().move(step, actions, values, choice, look)
        own = torch.arange(step.rows, device=choice.device)
        steps, began = (step.recall(f"diarist.{name}", fill=fill) for name, fill in (("steps", 0), ("began", -1)))
        step.keep("diarist.steps", (steps + own)[parents])
        if (began < 0).all():
            step.keep("diarist.began", own)
        return parents, choice

    def best(self, canvas, trace, kept):
        notes.append(dict(kept))
        return super().best(canvas, trace, kept)


notes = []


def test_memory_follows_the_particles_and_what_a_move_writes_is_taken_as_it_is(backbone):
    mdmkit.decode(sampler(Diarist()), backbone, [{"prompt": "ab", "length": 5}])
    (kept,) = notes
    # Kept by the first move of five, so four moves turned it.
    assert kept["diarist.began"].tolist() == [4 % 3, (1 + 4) % 3, (2 + 4) % 3]
    # Each move adds the place that a particle came from: 1 + 2 + 0 + 1 + 2 along the line that ends in place 0 …
    lines = [[(place + back) % 3 for back in range(1, 6)] for place in range(3)]
    assert kept["diarist.steps"].tolist() == [sum(line) for line in lines]


@dataclass(frozen=True)
class Watchful:
    """Lets its second particle propose nothing, and wants to see every state."""

    particles: int = 2
    looks: bool = False

    def prune(self, step, actions):
        first = torch.arange(step.rows, device=actions.live.device) % 2 == 0
        return type(actions)(actions.place, actions.tokens, actions.live & first[:, None])

    def move(self, step, actions, values, choice, look):
        left = (step.open & ~actions.take(choice)[0])[::2].any()
        seen.append((bool(left), look is not None))
        parents = torch.arange(step.rows, device=choice.device) // 2 * 2
        return parents, choice[parents]

    def best(self, canvas, trace, kept):
        return torch.zeros(len(canvas.tokens) // 2, dtype=torch.long)


seen = []


def test_pruned_alternatives_are_not_forwarded(backbone):
    (plain,) = mdmkit.decode(sampler(None), backbone, [{"prompt": "ab", "seed": 1}]).rows
    (row,) = mdmkit.decode(sampler(Watchful()), backbone, [{"prompt": "ab", "seed": 1}]).rows
    assert row.tokens == plain.tokens
    assert row.nfe == plain.nfe + 2  # the second particle enters two blocks


@dataclass(frozen=True)
class Anew(Write):
    """Writes like `write`, but the loop has to forget what it saw."""

    rewrites = True


@pytest.mark.parametrize("looks", [False, True])
def test_a_search_that_looks_sees_every_state_also_beside_a_commit_that_rewrites(backbone, looks):
    seen.clear()
    mdmkit.decode(replace(sampler(Watchful(looks=looks)), commit=Anew()), backbone, ["ab"])
    assert {saw for left, saw in seen if left} == {looks}
    assert {saw for left, saw in seen if not left} == {False}


@dataclass(frozen=True)
class Second(Calmest):
    """Two particles that never move; the second one is the answer."""

    particles: int = 2

    def best(self, canvas, trace, kept):
        return torch.ones(len(canvas.tokens) // 2, dtype=torch.long)


@dataclass(frozen=True)
class EndsTheSecond(Stop):
    """End the second particle of a row after its third step."""

    fill: str = "best"

    def __call__(self, step):
        return (torch.arange(step.rows) % 2 == 1) & (step.tick >= 3)


@pytest.mark.parametrize("fill", ["leave", "best"])
def test_a_particle_that_a_rule_ended_waits_for_the_others_and_is_the_answer_as_it_stood(backbone, fill):
    (row,) = mdmkit.decode(replace(sampler(Second()), stop=EndsTheSecond(fill)), backbone, ["ab"]).rows
    (plain,) = mdmkit.decode(sampler(None), backbone, ["ab"]).rows
    assert row.stopped == "EndsTheSecond"
    written = [tick for tick in row.order if tick >= 0]
    assert sorted(written) == ([0, 1, 2] if fill == "leave" else [0, 1, 2] + [3] * 5)
    # At temperature 0 the first particle goes the plain sampler's way, and the second one its first three steps.
    assert [token for token, tick in zip(row.tokens, row.order, strict=True) if tick < 3] == [
        token for token, tick in zip(plain.tokens, plain.order, strict=True) if tick < 3
    ]


@pytest.mark.parametrize("lookahead", [False, True])
def test_the_trace_of_a_particle_that_ended_has_its_own_steps_only(backbone, lookahead):
    """Also beside rows that have just joined, which do not take the step."""
    asked = [{"prompt": "ab", "length": n} for n in (8, 5, 7, 6, 8)]
    ending = replace(sampler(Second(), lookahead, temperature=0.8), stop=EndsTheSecond("leave"))
    for row in mdmkit.decode(ending, backbone, asked, batch=2).rows:
        assert row.stopped == "EndsTheSecond"
        assert sorted(tick for tick in row.order if tick >= 0) == [0, 1, 2]
        assert len(row.trace["choices"]) == 3


@dataclass(frozen=True)
class GivesUp(Calmest):
    """The first particle becomes a copy of the second one in its fifth step, and is the answer."""

    particles: int = 2

    def move(self, step, actions, values, choice, look):
        own = torch.arange(step.rows)
        parents = torch.where((own % 2 == 0) & (step.tick == 4), own + 1, own)
        return parents, choice[parents]

    def best(self, canvas, trace, kept):
        return torch.zeros(len(canvas.tokens) // 2, dtype=torch.long)


def test_a_particle_that_copies_a_finished_one_is_finished(backbone):
    (row,) = mdmkit.decode(replace(sampler(GivesUp()), stop=EndsTheSecond("leave")), backbone, ["ab"]).rows
    assert row.stopped == "EndsTheSecond"
    assert sorted(tick for tick in row.order if tick >= 0) == [0, 1, 2]
    assert row.nfe == 2 * 5  # the row has left after five steps of two particles each


@dataclass(frozen=True)
class Stubborn(TakeQuota):
    """Fills nothing in rows that begin with `c`."""

    def __call__(self, step, scores):
        actions = super().__call__(step, scores)
        stuck = (step.canvas.tokens == 3).any(1) & step.open.any(1)
        return type(actions)(actions.place & ~stuck[:, None, None], actions.tokens, actions.live & ~stuck[:, None])


def test_an_error_under_a_search_names_the_prompt(backbone):
    stuck = replace(sampler(Calmest(3)), select=Stubborn())
    with pytest.raises(MdmkitError, match=r"select Stubborn filled no position.* at tick 0 in row 1 "):
        mdmkit.decode(stuck, backbone, ["ab", {"prompt_ids": [3, 11, 11]}])


def test_a_search_is_a_node_like_any_other(tmp_path):
    from mdmkit.installed.registry import Registry

    registry = Registry()
    registry.add_file(str(Path(__file__).parents[1] / "examples" / "hooks" / "search.py"))
    composed = mdmkit.compose("confidence", search={"name": "calmest", "particles": 2}, registry=registry)
    assert composed.search.particles == 2
    assert composed.config["search"] == {"name": "calmest", "particles": 2}
    with pytest.raises(MdmkitError, match="particels"):
        mdmkit.compose("confidence", search={"name": "calmest", "particels": 2}, registry=registry)
    with pytest.raises(MdmkitError, match="unknown search 'calm'"):
        mdmkit.compose("confidence", search="calm", registry=registry)
    with pytest.raises(MdmkitError, match=r"search .* a class|callable dataclass|must be a name"):
        mdmkit.compose("confidence", search=3, registry=registry)
    assert mdmkit.compose("confidence", search=Calmest(3), registry=registry).search == Calmest(3)
