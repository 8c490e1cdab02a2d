"""`mdmkit samplers`: what it says of a preset comes from its parts, or from the preset where they are silent."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from mdmkit.cli import main
from mdmkit.config.compose import compose
from mdmkit.config.facts import facts
from mdmkit.installed import registry as registry_module
from mdmkit.installed.registry import Registry

PARTS = """
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Flat:
    def __call__(self, step): ...

@dataclass(frozen=True)
class Wild:
    def __call__(self, step): return step.noise("wild", 1)[:, 0]

@dataclass(frozen=True)
class Warm:
    temperature: float = 0.0
    def __call__(self, step, scores): return step.noise("warm", 1)[:, 0]

@dataclass(frozen=True)
class Fork:
    branches: int = 3
    @property
    def alternatives(self) -> int:
        return self.branches
    def __call__(self, step, scores): ...

@dataclass(frozen=True)
class Riddle:
    most: int = 3
    @property
    def alternatives(self) -> int:
        return 2 * self.most
    def __call__(self, step, scores): ...

@dataclass(frozen=True)
class Ahead:
    def __call__(self, step, actions, look): ...

@dataclass(frozen=True)
class Again:
    rewrites: ClassVar[bool] = True
    def __call__(self, step, actions, choice): ...

@dataclass(frozen=True)
class Crowd:
    particles: int = 4
    chooses = True
    def move(self, *args): ...
    def best(self, *args): ...
"""
PLUGIN = """
from mdmkit import Component, hookimpl

def listed(**names):
    return [Component(name, f"odd_parts:{target}") for name, target in names.items()]

@hookimpl
def mdmkit_score(): return listed(flat="Flat", wild="Wild")
@hookimpl
def mdmkit_select(): return listed(warm="Warm", prongs="Fork", riddle="Riddle")
@hookimpl
def mdmkit_lookahead(): return listed(ahead="Ahead")
@hookimpl
def mdmkit_commit(): return listed(again="Again")
@hookimpl
def mdmkit_search(): return listed(crowd="Crowd")
@hookimpl
def mdmkit_sampler():
    warm, fork = {"score": "flat", "select": "warm"}, {"score": "flat", "select": "prongs", "lookahead": "ahead"}
    riddle = {**fork, "select": "riddle"}
    presets = {
        "simple": warm,
        "hot": {**warm, "select": {"name": "warm", "temperature": 0.1}},
        "drawn": {**warm, "draw": {"temperature": 1.0}},
        "wild": {**warm, "score": "wild"},
        "tame": {**warm, "score": "wild", "deterministic": True},
        "pronged": {**fork, "select": {"name": "prongs", "branches": 5}},
        "guided": {**fork, "guidance": {"scale": 2.0}},
        "again": {**fork, "commit": "again"},
        "again_greedy": {**warm, "commit": "again"},
        "crowd": {**warm, "search": {"name": "crowd", "particles": 6}},
        "crowd_forked": {"score": "flat", "select": "prongs", "search": "crowd"},
        "riddle": riddle,
        "told": {**riddle, "forwards": [1, 6]},
        "told_one": {**riddle, "forwards": 6},
        "nonsense": {**riddle, "forwards": "many"},
        "cached": {**warm, "cache": {"name": "dual", "refresh_every": 4}},
        "task@model": {**warm, "paper": "A paper", "arxiv": ["2602.18176"], "when": "on  Sundays", "modality": "image"},
        "gone": {**warm, "score": "margin"},
    }
    return [Component(name, preset, f"about {name}") for name, preset in presets.items()]
"""


@pytest.fixture
def presets(toy, monkeypatch):
    toy.add("odd", {"odd.py": PLUGIN, "odd_parts.py": PARTS}, plugin="odd")
    registry = toy.registry()
    monkeypatch.setattr(registry_module, "_default", registry)
    return registry


def of(registry, name):
    return facts(registry.find("sampler", name), registry)


def test_forwards_of_a_step_are_those_of_the_parts(presets):
    expected = {
        "simple": (1, 1),
        "pronged": (1, 5),
        "guided": (2, 6),
        "again": (1, 4),  # three are looked at, and what the commit left once more
        "again_greedy": (1, 1),
        "crowd": (6, 6),
        "crowd_forked": (4, 12),
        "riddle": None,
        "told": (1, 6),
        "told_one": (6, 6),
        "nonsense": None,
    }
    assert {name: of(presets, name).forwards for name in expected} == expected


def test_seeds_agree_where_nothing_is_drawn(presets):
    expected = {"simple": True, "hot": False, "drawn": False, "wild": False, "tame": True, "pronged": True}
    assert {name: of(presets, name).deterministic for name in expected} == expected


def test_the_table_shows_what_is_known_and_leaves_the_rest_blank(presets):
    lines = CliRunner().invoke(main, ["samplers"]).stdout.splitlines()
    shown = {
        line.split()[0]: (line.split()[1:], lines[i + 1].strip()) for i, line in enumerate(lines) if line[0] != " "
    }
    assert shown["task@model"] == (["1", "auto", "image", "agree", "2602.18176"], "on Sundays")
    assert shown["pronged"] == (["1", "to", "5", "auto", "any", "agree"], "about pronged")
    assert shown["riddle"] == (["auto", "any", "agree"], "about riddle")
    assert shown["cached"][0] == ["1", "dual", "any", "agree"]
    assert shown["gone"][0] == ["any"]
    assert shown["gone"][1].startswith("cannot be composed: unknown score 'margin'")


def test_json_has_the_same_and_the_paper(presets):
    rows = {r["name"]: r for r in json.loads(CliRunner().invoke(main, ["samplers", "--json"]).stdout)["samplers"]}
    assert rows["pronged"]["forwards_per_step"] == {"least": 1, "most": 5}
    assert rows["riddle"]["forwards_per_step"] is None
    assert rows["task@model"]["about"] == {
        "paper": "A paper",
        "arxiv": ["2602.18176"],
        "when": "on  Sundays",
        "modality": "image",
    }
    assert (rows["task@model"]["distribution"], rows["task@model"]["problem"]) == ("odd", None)
    assert "pip install mdmkit-heuristics" in rows["gone"]["problem"]


def test_a_plugin_file_s_presets_are_listed(presets, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        PARTS + "from mdmkit import Component, hookimpl\n"
        "@hookimpl\ndef mdmkit_select(): return [Component('mine', Fork)]\n"
        "@hookimpl\ndef mdmkit_sampler(): return [Component('my', {'score': 'flat', 'lookahead': 'ahead', "
        "'select': {'name': 'mine', 'branches': 7}})]\n"
    )
    rows = CliRunner().invoke(main, ["samplers", "--plugin", str(file)]).stdout.splitlines()
    assert any(line.split()[:4] == ["my", "1", "to", "7"] for line in rows)


def test_a_name_with_a_task_works_wherever_a_name_does(presets, tmp_path):
    for name in ("task@model", "odd:task@model"):
        shown = CliRunner().invoke(main, ["show", name]).output
        assert f'sampler:   "{name}"  # odd 1.0' in shown
        file = tmp_path / "shown.yaml"
        file.write_text(shown)
        assert CliRunner().invoke(main, ["show", "--config", str(file)]).output == shown
    file.write_text("sampler: task@model\n")
    assert CliRunner().invoke(main, ["show", "--config", str(file)]).exit_code == 0
    wrong = CliRunner().invoke(main, ["show", "task@modle"])
    assert "Did you mean 'task@model'?" in wrong.output


def test_every_installed_preset_says_what_a_step_costs_as_its_composed_parts_do():
    registry = Registry()
    for part in registry.of_kind("sampler"):
        said = facts(part, registry)
        assert said.problem is None
        sampler = compose(f"{part.distribution}:{part.name}", registry=registry)
        alternatives, particles = getattr(sampler.select, "alternatives", 1), getattr(sampler.search, "particles", 1)
        again = getattr(sampler.commit, "rewrites", False) and alternatives > 1
        least = particles * (1 if sampler.guidance.scale == 1 else 2)
        assert said.forwards == (least, least * (alternatives + again)), part.name
        assert said.cache == sampler.cache
