"""What a preset declares, `forwards` and `deterministic`, is what its composed sampler does."""

from __future__ import annotations

import runpy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest

import mdmkit
from mdmkit.installed import registry
from mdmkit.installed.registry import first_party
from mdmkit.testing import ToyBackbone

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "hooks"
PRESETS = [p.name for p in registry.default().of_kind("sampler") if p.distribution in first_party()]
CONFIGS = {
    "sampler.yaml": EXAMPLES / "sampler.yaml",
    "sampler.py": runpy.run_path(str(EXAMPLES / "sampler.py"))["BOLD_MARGIN"],
}
SEEDS = range(5)
# A prompt's own length stands in for `plan.length`, which is 512 in some presets.
TEXTS = [{"prompt": "ab", "length": 18}, "a__b___c_", "________", "_a__b_c_d__", {"prompt": "cde", "length": 20}]
PICTURES = ["_" * 20, "ab" + "_" * 18, "_" * 9 + "c" + "_" * 10]


class Toy(ToyBackbone):
    """The toy with an end token, so that `draw.end_penalty` has something to mean."""

    ends = endings = (1,)


class GridToy(Toy):
    """Rows are pictures of 4 × 5 cells."""

    def encode(self, prompts, plan):
        canvas, conditioning = super().encode(prompts, plan)
        return replace(canvas, grid=(4, 5)), conditioning


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    """Compose a preset or an example for the toy; everything that is not the toy's is replaced here, and only that."""
    from mdmkit_heuristics.frequency import count

    table = tmp_path_factory.mktemp("corpus") / "toy.json"
    count([[k] * k for k in range(1, 11)], ToyBackbone(), "toy:0", "made up").save(table)

    @lru_cache
    def compose(name):
        # The toy keeps nothing between forwards. A cache changes neither the number of forwards nor what is drawn.
        overrides = ["cache=none"]
        # What is of a real tokenizer's ids; and a room that is quickly filled.
        own = {
            "pc": [f"score.table={table}"],
            "adablock": ["select.delimiters=[3,4]"],
            "daedal": ["commit.end=1", "plan.room=6"],
        }
        overrides += own.get(name, [])
        given = {"config": CONFIGS[name]} if name in CONFIGS else {"preset": name}
        return mdmkit.compose(**given, overrides=overrides)

    return compose


@lru_cache
def decoded(sampler_of, name):
    """One result for each seed."""
    sampler = sampler_of(name)
    image = sampler.config["about"].get("modality") == "image"
    backbone, prompts = (GridToy(), PICTURES) if image else (Toy(), TEXTS)
    return [mdmkit.decode(sampler, backbone, prompts, seed=seed) for seed in SEEDS]


def declared(sampler):
    forwards = sampler.config["about"]["forwards"]
    return tuple(forwards) if isinstance(forwards, list) else (forwards, forwards)


def test_presets_of_every_plugin_that_has_some_are_here():
    assert set(PRESETS) == {name for kinds in first_party().values() for name in kinds.get("sampler", ())}


@pytest.mark.parametrize("name", [*PRESETS, *CONFIGS])
def test_forwards_are_those_of_the_composed_parts(composed, name):
    sampler = composed(name)
    searched = sampler.search is not None
    several = searched or sampler.lookahead is not None
    alternatives = getattr(sampler.select, "alternatives", 1) if several else 1
    particles = sampler.search.particles if searched else 1
    branches = 1 if sampler.guidance.scale == 1 else 2
    # A search that prunes forwards equal particles once.
    least = 1 if "prune" in vars(type(sampler.search)) else particles
    # A commit that rewrites changes the state after the look, so this state needs one more forward.
    more = getattr(sampler.commit, "rewrites", False) and alternatives > 1
    assert declared(sampler) == (branches * least, branches * particles * (alternatives + more))


@pytest.mark.parametrize("name", [*PRESETS, *CONFIGS])
def test_forwards_are_those_that_rows_take(composed, name):
    least, most = declared(composed(name))
    for result in decoded(composed, name):
        for row in result.rows:
            assert least <= row.nfe / len(row.trace["choices"]) <= most


@pytest.mark.parametrize("name", [*PRESETS, *CONFIGS])
def test_seeds_agree_exactly_where_a_preset_is_deterministic(composed, name):
    first, *others = decoded(composed, name)
    if composed(name).config["about"]["deterministic"]:
        for other in others:
            assert other.tokens == first.tokens
            assert [row.order for row in other.rows] == [row.order for row in first.rows]
    else:
        assert any(other.tokens != first.tokens for other in others)
