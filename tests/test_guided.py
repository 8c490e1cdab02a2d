"""A model that is guided by conditioning: each row keeps its own, with and without the prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

import mdmkit
from mdmkit import Draw, Engine, Guidance, Output, Plan, Sampler
from mdmkit.decoding.prompts import read_prompts
from mdmkit.loop.whole import fill_canvas
from mdmkit.testing import ByConfidence, LeastEntropyLeft, Spread, TakeQuota, ToyBackbone

DIM = 16
PROMPTS = read_prompts(
    [{"prompt": text, "length": n} for text, n in (("ab", 7), ("c", 2), ("dca", 5), ("hg", 3), ("e", 6), ("f", 4))], 3
)


class Steered(ToyBackbone):
    """Is pulled towards a vector of the row's first letter, and without the prompt towards one of its last letter."""

    guided = True

    def encode(self, prompts, plan):
        canvas, _ = super().encode(prompts, plan)
        letters = [[ord(prompt.text[end]) for prompt in prompts] for end in (0, -1)]
        waves = torch.arange(1, DIM + 1, dtype=torch.float64)
        return canvas, (torch.tensor([*letters[0], *[2 * letter for letter in letters[1]]])[:, None] * waves).sin()

    def select(self, conditioning, rows):
        return conditioning[rows]

    def forward(self, tokens, valid, conditioning, *, positions, cache=None, **more):
        assert len(conditioning) == len(tokens)
        hidden = super().forward(tokens, valid, None, positions=positions).hidden
        return Output(hidden + 2.0 * conditioning[:, None])


def sampler(lookahead=False, scale=2.0):
    stages = (ByConfidence(), Spread(3), LeastEntropyLeft()) if lookahead else (ByConfidence(), TakeQuota())
    return Sampler(*stages, plan=Plan(block=4), guidance=Guidance(scale), draw=Draw(temperature=0.7))


def facts(row):
    return row.tokens, row.order, row.nfe


@pytest.mark.parametrize("lookahead", [False, True])
def test_a_row_has_its_own_conditionings_whoever_joins_and_leaves_beside_it(lookahead):
    backbone = Steered(dtype=torch.float64)
    alone = [mdmkit.decode(sampler(lookahead), backbone, [prompt]).rows[0] for prompt in PROMPTS]
    engine = Engine(sampler(lookahead), backbone, 3)
    for prompt in PROMPTS:
        engine.admit(prompt)
    rows = {each.id: each.row for each in engine.drain()}
    assert [facts(rows[id_]) for id_ in range(len(PROMPTS))] == [facts(row) for row in alone]
    assert [facts(row) for row in mdmkit.decode(sampler(lookahead), backbone, PROMPTS).rows] == [
        facts(row) for row in alone
    ]


def test_a_canvas_with_full_rows_gives_the_others_their_own_conditionings():
    backbone, plan = Steered(dtype=torch.float64), Plan(length=4)
    canvas, conditioning = backbone.encode(PROMPTS[:4], plan)
    whole, _ = fill_canvas(sampler(), backbone, canvas, conditioning)
    full = torch.tensor([True, False, True, False])
    half_full = canvas.filled(canvas.open & full[:, None], whole.tokens)
    again, trace = fill_canvas(sampler(), backbone, half_full, conditioning)
    assert again.tokens.tolist() == whole.tokens.tolist()
    assert trace.rows.tolist() == [2 * n for n in (0, 2, 0, 3)]


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_logits_are_mixed_from_the_rows_two_conditionings(scale):
    backbone, heard = Steered(dtype=torch.float64), []

    def score(step):
        heard.append((step.canvas.tokens, step.belief.logits))
        return step.confidence

    mdmkit.decode(Sampler(score, TakeQuota(), plan=Plan(), guidance=Guidance(scale)), backbone, PROMPTS[2:3])
    tokens, logits = heard[0]
    _, both = backbone.encode(PROMPTS[2:3], Plan())
    places = torch.arange(tokens.shape[1])[None]
    valid = places < 8
    with torch.inference_mode():
        guided, free = (
            backbone.project(backbone.forward(tokens, valid, both[i : i + 1], positions=places).hidden) for i in (0, 1)
        )
    allowed = slice(1, 11)
    torch.testing.assert_close(logits[0, :, allowed], (free + scale * (guided - free))[0, 3:8, allowed])


@pytest.mark.parametrize("lookahead", [False, True])
def test_a_ramp_grows_with_the_share_of_the_row_that_is_filled(lookahead):
    """The scale is 1 for a row of masks. Each next state that a lookahead reads has its own."""
    backbone, heard = Steered(dtype=torch.float64), []
    prompt, scale, length = PROMPTS[2:3], 3.0, 5

    def score(step):
        heard.append((step.canvas.tokens, step.canvas.open, step.belief.logits))
        return step.confidence

    score.reads = ("written",)
    stages = (score, Spread(3), LeastEntropyLeft()) if lookahead else (score, TakeQuota())
    mdmkit.decode(Sampler(*stages, plan=Plan(), guidance=Guidance(scale, ramp=True)), backbone, prompt)
    _, both = backbone.encode(prompt, Plan())
    assert len(heard) == length
    for filled, (tokens, open_, logits) in enumerate(heard):
        assert int(open_.sum()) == length - filled
        places = torch.arange(tokens.shape[1])[None]
        with torch.inference_mode():
            guided, free = (
                backbone.project(backbone.forward(tokens, places < 8, half, positions=places).hidden)
                for half in both.split(1)
            )
        now = 1 + (scale - 1) * filled / length
        allowed = slice(1, 11)
        wanted = (free + now * (guided - free))[0, 3:8, allowed]
        torch.testing.assert_close(logits[0, :5, allowed], wanted, rtol=1e-5, atol=1e-5)


@dataclass(frozen=True)
class Changing:
    """At every step the particles of a row change places; the last one wins."""

    particles: int = 3

    def move(self, step, actions, values, choice, look):
        rows = torch.arange(step.rows)
        parents = rows // self.particles * self.particles + (rows + 1) % self.particles
        return parents, choice[parents]

    def best(self, canvas, trace, kept):
        return torch.full((len(canvas.tokens) // self.particles,), self.particles - 1)


@pytest.mark.parametrize("model", [ToyBackbone, Steered])  # guided by masking the prompt, and by two conditionings
@pytest.mark.parametrize("lookahead", [False, True])
def test_every_particle_of_a_search_is_guided_by_its_own_rows_prompt(model, lookahead):
    """The shortest row comes first: the prompts of the others are longer than this whole row."""
    texts = [("c", 1), ("hgfedc", 3), ("dcabeh", 2), ("abcdefghab", 4)]
    prompts = read_prompts([{"prompt": text, "length": length} for text, length in texts], 3)
    backbone, searched = model(dtype=torch.float64), replace(sampler(lookahead), search=Changing())
    alone = [mdmkit.decode(searched, backbone, [prompt]).rows[0] for prompt in prompts]
    engine = Engine(searched, backbone, len(prompts))
    ids = [engine.admit(prompt) for prompt in prompts]
    rows = {each.id: each.row for each in engine.drain()}
    together = [rows[id_] for id_ in ids]
    assert [facts(row) for row in together] == [facts(row) for row in alone]
    assert [row.uncertainty for row in together] == pytest.approx([row.uncertainty for row in alone], rel=1e-9)


@pytest.mark.parametrize("model", [ToyBackbone, Steered])
def test_particles_that_do_the_same_are_the_row_without_a_search(model):
    """Particle k of a row is guided by the prompt of its row, and not by that of row k."""
    backbone = model(dtype=torch.float64)
    cold = replace(sampler(), draw=Draw())
    plain = mdmkit.decode(cold, backbone, PROMPTS).rows
    searched = mdmkit.decode(replace(cold, search=Changing()), backbone, PROMPTS).rows
    assert [(row.tokens, row.order) for row in searched] == [(row.tokens, row.order) for row in plain]
    assert [row.nfe for row in searched] == [Changing.particles * row.nfe for row in plain]
