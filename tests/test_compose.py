"""compose and load: what fits together, what is refused, and that a sampler can be made again from its config."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
import torch

import mdmkit
from mdmkit import Draw, MdmkitError, Plan, Sampler, compose, load
from mdmkit.canvas.prompt import Prompt
from mdmkit.loop.whole import fill_canvas


@dataclass(frozen=True)
class Backwards:
    """A score written in a notebook."""

    weight: float = 1.0

    def __call__(self, step):
        return step.position * self.weight


def registering(kind: str, name: str, target: str) -> str:
    """The source of a plugin module with one part."""
    return (
        f"from mdmkit import Component, hookimpl\n@hookimpl\n"
        f"def mdmkit_{kind}(): return [Component({name!r}, {target!r})]"
    )


def error(call, *args, **kwargs) -> str:
    with pytest.raises(MdmkitError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("installed")
class TestCompose:
    def test_a_preset_becomes_a_frozen_sampler(self):
        sampler = compose("plain", draw={"temperature": 0.7, "suppress": [3]})
        assert isinstance(sampler, Sampler)
        assert (type(sampler.score).__name__, sampler.select.temperature) == ("Likely", 0.5)
        assert sampler.plan == Plan(length=12, tokens_per_step=2)
        assert sampler.draw == Draw(temperature=0.7, suppress=(3,), penalty={5: 1.5})
        assert (sampler.lookahead, sampler.cache, sampler.seed, sampler.name) == (None, "auto", 0, "plain")

    def test_parts_are_enough_without_a_preset(self):
        sampler = compose(
            score="likely", select={"name": "fork", "candidates": 2}, lookahead="sure", plan={"length": 4}
        )
        assert sampler.select.alternatives == 2
        assert sampler.lookahead.scope == "block"
        assert sampler.name == "custom"

    def test_sections_may_be_objects(self):
        sampler = compose("plain", plan=Plan(length=3), draw=Draw(top_k=2))
        assert sampler.plan == Plan(length=3)
        assert sampler.draw == Draw(top_k=2)

    @pytest.mark.parametrize(
        "kwargs",
        [
            {"preset": "plain"},
            {"preset": "plain", "draw": {"penalty": {3: 1.0}, "suppress": [1]}, "seed": 7},
            {"preset": "forked", "select": {"candidates": 1}, "lookahead": None},
            {"score": {"name": "tilted", "bias": {4: 2}, "ids": [1, 2]}, "select": "best"},
            {"score": "toy:likely", "select": "best"},
        ],
    )
    def test_the_config_of_a_sampler_makes_the_same_sampler(self, kwargs):
        sampler = compose(**kwargs)
        again = compose(config=json.loads(json.dumps(sampler.config)))
        assert again == sampler
        assert again.config == sampler.config

    def test_the_config_holds_defaults_that_only_the_class_knows(self):
        assert compose(score="tilted", select="best").config["score"]["scale"] == pytest.approx(-3.14159, abs=1e-5)

    def test_the_config_says_where_each_part_came_from(self):
        parts = compose("forked").config["parts"]
        assert parts["lookahead"] == {"distribution": "toy", "version": "1.0"}
        assert parts["commit"] == {"distribution": "mdmkit", "version": mdmkit.__version__}

    def test_a_stage_may_be_an_object(self):
        sampler = compose("plain", score=Backwards(2.0))
        assert sampler.score == Backwards(2.0)
        assert sampler.config["score"] == {"name": "Backwards", "weight": 2.0}
        assert sampler.config["parts"]["score"]["distribution"] == f"python:{Backwards.__module__}"
        json.dumps(sampler.config)

    def test_an_object_of_an_installed_class_is_known_by_its_name(self):
        sampler = compose("plain", select=replace(compose("plain").select, temperature=0.1))
        assert sampler.config["select"] == {"name": "best", "temperature": 0.1}
        assert compose(config=sampler.config) == sampler

    def test_several_alternatives_need_a_lookahead(self):
        assert error(compose, "forked", lookahead=None, select={"candidates": 8}) == (
            "select 'fork' proposes 8 alternatives but no lookahead chooses among them: "
            "add lookahead=… (installed: sure), or candidates=1."
        )

    def test_one_alternative_needs_none(self):
        assert compose("forked", lookahead=None, select={"candidates": 1}).lookahead is None

    def test_a_value_error_of_a_stage_names_the_stage(self):
        assert error(compose, "plain", score={"name": "tilted", "weight": -1}) == "score 'tilted': weight is negative"

    def test_an_error_of_the_plan_passes_through(self):
        assert error(compose, "plain", plan={"block": 0}).startswith("plan.block=0: it must be a whole number from 1")

    def test_an_unknown_cache_is_named(self):
        assert (
            error(compose, "plain", cache="non")
            == "unknown cache 'non'. Did you mean 'none'? Known: auto, block, dual, none, prefix."
        )

    @pytest.mark.parametrize(
        ("stage", "said"),
        [
            (Backwards, "score is the class Backwards: give an instance of it"),
            (lambda step: step.confidence, "score must be a name, a mapping"),
            (3, "score must be a name, a mapping"),
        ],
    )
    def test_a_stage_that_is_no_callable_dataclass_is_refused(self, stage, said):
        assert said in error(compose, "plain", score=stage)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def Score(): pass", "a score must be a dataclass"),
        ("class Score: pass", "a score must be a dataclass"),
        (
            "@dataclass(frozen=True)\nclass Score:\n    x: int = 1",
            "(class Score) has no method __call__",
        ),
        ("class Score(Exception): pass\nraise OSError('no')", "cannot be imported: OSError: no"),
    ],
)
def test_a_registered_stage_that_is_no_callable_dataclass_is_refused(toy, body, said):
    plugin = registering("score", "odd", "odd_parts:Score")
    toy.add("odd", {"odd.py": plugin, "odd_parts.py": f"from dataclasses import dataclass\n{body}"}, plugin="odd")
    text = error(compose, "plain", score="odd", registry=toy.registry())
    assert "score 'odd' of odd 1.0" in text
    assert said in text


def test_inherited_parameters_are_checked_when_composing(toy):
    plugin = registering("score", "heir", "heir_parts:Heir")
    parts = """
        from dataclasses import dataclass
        from toy_parts.stages import Tilted

        @dataclass(frozen=True)
        class Heir(Tilted):
            extra: int = 5
    """
    toy.add("heir", {"heir.py": plugin, "heir_parts.py": parts}, plugin="heir")
    registry = toy.registry()
    sampler = compose("plain", score={"name": "heir", "weight": 3}, registry=registry)
    assert (sampler.score.weight, sampler.config["score"]["extra"]) == (3.0, 5)
    assert "unknown score 'heir' parameter 'wait'" in error(
        compose, "plain", score={"name": "heir", "wait": 3}, registry=registry
    )
    assert "score.weight must be a number" in error(
        compose, "plain", score={"name": "heir", "weight": "x"}, registry=registry
    )


def test_two_samplers_of_one_process_do_not_share_anything(installed):
    first = compose("plain", registry=installed)
    second = compose("plain", registry=installed, draw={"penalty": {5: 9.0}})
    assert first.draw.penalty == {5: 1.5}
    assert second.draw.penalty == {5: 9.0}


@pytest.mark.usefixtures("installed")
class TestLoad:
    def test_a_backbone_s_name_is_a_scheme(self):
        model = load("toy:some:thing", size=3)
        assert (model.ref, model.dtype, model.options) == ("some:thing", "auto", {"size": 3})

    def test_any_other_reference_is_offered_to_each_backbone(self):
        assert load("toys/bear", dtype="float32").ref == "toys/bear"
        assert load("toys/bear", dtype="float32").dtype == "float32"

    def test_nothing_reads_it(self):
        text = error(load, "someone/model")
        assert text.startswith("no backbone reads model 'someone/model' (no file or directory here).")
        assert "Installed backbones: toy (toy 1.0)." in text
        assert "pip install mdmkit-image mdmkit-text mdmkit-zoo" in text

    def test_an_unknown_scheme_is_answered_with_the_nearest(self):
        assert error(load, "toi:bear").startswith("unknown backbone 'toi'. Did you mean 'toy'? Installed: toy.")

    def test_a_first_party_scheme_that_is_not_installed_names_the_pip_line(self):
        assert "pip install mdmkit-zoo provides it." in error(load, "zoo:puzzles")

    def test_auto_is_a_device_that_is_there(self):
        assert load("toy:x").device.type == ("cuda" if torch.cuda.is_available() else "cpu")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
    def test_cuda_that_is_absent_is_refused(self):
        assert error(load, "toy:x", device="cuda:1").startswith("device 'cuda:1' was asked for, and torch sees no CUDA")

    def test_an_unknown_device_or_dtype_is_named(self):
        assert error(load, "toy:x", device="gpu").startswith("unknown device 'gpu'.")
        assert "Did you mean 'float32'?" in error(load, "toy:x", dtype="float3")

    def test_a_backbone_that_cannot_be_imported_does_not_hide_the_next(self, toy):
        plugin = registering("backbone", "a", "gone_parts:A")
        toy.add("absent", {"absent.py": plugin}, plugin="absent")
        registry = toy.registry()
        assert load("toys/bear", registry=registry).ref == "toys/bear"
        assert "the package 'gone_parts' is missing" not in error(load, "no/one", registry=registry)[:60]
        assert "backbone 'a' of absent 1.0 cannot be imported" in error(load, "no/one", registry=registry)

    def test_two_backbones_of_one_name_are_told_apart_by_distribution(self, toy):
        plugin = registering("backbone", "toy", "toy_parts.backbone:Toy")
        toy.add("rival", {"rival.py": plugin}, plugin="rival")
        registry = toy.registry()
        assert "rival:toy or toy:toy" in error(load, "toy:x", registry=registry)
        assert load("rival:toy:x", registry=registry).ref == "x"


def test_a_composed_sampler_decodes(installed):
    model = load("toy:x", device="cpu", registry=installed)
    for name in ("plain", "forked"):
        sampler = compose(name, registry=installed)
        canvas, conditioning = model.encode([Prompt(text="1 2"), Prompt(ids=(3, 0, 0, 4))], sampler.plan)
        filled, _ = fill_canvas(sampler, model, canvas, conditioning)
        assert not filled.open.any()


def test_every_public_name_is_there():
    assert {name for name in mdmkit.__all__ if getattr(mdmkit, name, None) is None} == set()
    assert not hasattr(mdmkit, "no_such_name")


def test_the_version_is_the_distribution_s():
    import tomllib
    from pathlib import Path

    project = tomllib.loads(Path(mdmkit.__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
    assert project["version"] == mdmkit.__version__
