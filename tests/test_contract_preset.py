"""The suite of presets holds for one of the test's own, and each broken preset fails the test of its law alone."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest
from omegaconf import OmegaConf

from mdmkit import Component, hookimpl
from mdmkit.installed import registry
from mdmkit.testing import ByConfidence, PresetContract, TakeQuota, ToyBackbone, preset


@dataclass(frozen=True)
class Dice:
    """A score by chance."""

    def __call__(self, step):
        return step.noise("dice", 1)[:, 0].float()


@dataclass(frozen=True)
class GlobalDice:
    """A score by chance that no seed settles."""

    def __call__(self, step):
        return step.confidence.new_tensor([[next(GlobalDice._thrown) for _ in range(step.width)]] * step.rows)

    _thrown: ClassVar = iter(float((7 * i * i) % 31) for i in range(10**9))


@dataclass(frozen=True)
class Forgetful:
    """A score whose parameter changes on the way."""

    weight: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "weight", 2 * self.weight)

    def __call__(self, step):
        return self.weight * step.confidence


class Plugin:
    @hookimpl
    def mdmkit_score(self):
        parts = {"sure": ByConfidence, "dice": Dice, "global_dice": GlobalDice, "forgetful": Forgetful}
        return [Component(name, target, "") for name, target in parts.items()]

    @hookimpl
    def mdmkit_select(self):
        return [Component("quota", TakeQuota, "")]


SURE = {
    "paper": "A Paper",
    "arxiv": ["2502.09992"],
    "when": "in tests",
    "forwards": 1,
    "deterministic": True,
    "score": "sure",
    "select": "quota",
    "plan": {"length": 64, "block": 8, "tokens_per_step": 2},
}


@pytest.fixture(autouse=True)
def _parts(monkeypatch):
    found = registry.Registry([])
    found._walk()
    found._index([*found.parts, *found._register(Plugin(), "test-parts", "1.0")])
    monkeypatch.setattr(registry, "_default", found)


class TestMapping(PresetContract):
    component = SURE


class TestDice(PresetContract):
    component: ClassVar = SURE | {"score": "dice", "deterministic": False, "forwards": [1, 2]}


class TestFile(PresetContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path):
        self.component = tmp_path / "sure.yaml"
        self.component.write_text(OmegaConf.to_yaml(SURE))


def test_a_target_in_a_package_is_read(site):
    site.add("sure", {"sure_parts/__init__.py": "", "sure_parts/presets/sure.yaml": OmegaConf.to_yaml(SURE)})
    suite = type("Suite", (PresetContract,), {"component": "sure_parts:presets/sure.yaml"})()
    assert suite.make() == SURE


def test_the_plan_of_the_preset_is_shortened():
    assert TestMapping()._sampler().plan.length == 12
    assert TestMapping()._sampler().plan.block == 8


BROKEN = {
    "another base": ({"sampler": "confidence"}, "test_resolves_and_composes"),
    "chance without a seed": ({"score": "global_dice", "deterministic": False}, "test_same_seed_gives_the_same_tokens"),
    "untrue": ({"score": "dice"}, "test_every_seed_agrees_where_it_says_so"),
    "no forwards": ({"forwards": None}, "test_says_what_a_step_costs"),
    "forwards in words": ({"forwards": "many"}, "test_says_what_a_step_costs"),
    "forwards turned round": ({"forwards": [8, 1]}, "test_says_what_a_step_costs"),
    "forwards of nothing": ({"forwards": 0}, "test_says_what_a_step_costs"),
    "forwards a truth": ({"forwards": True}, "test_says_what_a_step_costs"),
    "nothing said of chance": ({"deterministic": None}, "test_says_whether_it_draws"),
    "chance in words": ({"deterministic": "often"}, "test_says_whether_it_draws"),
    "an unknown key": ({"about": {"papr": "A Paper"}}, "test_what_it_says_of_itself_is_known"),
    "one number": ({"arxiv": "2502.09992"}, "test_arxiv_numbers_have_their_form"),
    "a number without quotes": ({"arxiv": [2510.0613]}, "test_arxiv_numbers_have_their_form"),
    "a short number": ({"arxiv": ["2502.0999"]}, "test_arxiv_numbers_have_their_form"),
    "a version": ({"arxiv": ["2502.09992v2"]}, "test_arxiv_numbers_have_their_form"),
    "a parameter that grows": ({"score": "forgetful"}, "test_config_resolves_to_itself"),
}


@pytest.mark.parametrize(("changed", "law"), BROKEN.values(), ids=BROKEN)
def test_a_broken_preset_fails_the_test_of_its_law_alone(changed, law, broken_laws):
    if "sampler" in changed:
        with pytest.raises(AssertionError, match="builds on no other"):
            type("Suite", (PresetContract,), {"component": SURE | changed})().test_resolves_and_composes()
    else:
        assert broken_laws(type("Suite", (PresetContract,), {"component": SURE | changed})()) == [law]


def test_a_preset_that_cannot_be_composed_shows_why():
    suite = type("Suite", (PresetContract,), {"component": SURE | {"score": "sura"}})()
    with pytest.raises(pytest.fail.Exception, match=r"Did you mean 'sure'\?"):
        suite.test_resolves_and_composes()


def test_masks_that_are_left_are_found(monkeypatch):
    row = SimpleNamespace(index=3, tokens=[1, ToyBackbone().mask_id])
    monkeypatch.setattr(preset, "decode", lambda *given: SimpleNamespace(rows=[row]))
    with pytest.raises(AssertionError, match="masks are left in prompt 3"):
        TestMapping().test_decodes_to_the_end()
