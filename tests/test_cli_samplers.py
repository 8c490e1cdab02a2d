"""`mdmkit samplers`: it shows what a preset says of itself, and blanks where the preset is silent."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from mdmkit.cli import main
from mdmkit.config.facts import facts
from mdmkit.installed import registry as registry_module

PARTS = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Flat:
    def __call__(self, step): ...

@dataclass(frozen=True)
class Warm:
    temperature: float = 0.0
    def __call__(self, step, scores): ...
"""
PLUGIN = """
from mdmkit import Component, hookimpl

@hookimpl
def mdmkit_score(): return [Component("flat", "odd_parts:Flat")]
@hookimpl
def mdmkit_select(): return [Component("warm", "odd_parts:Warm")]
@hookimpl
def mdmkit_sampler():
    plain = {"score": "flat", "select": "warm"}
    presets = {
        "silent": plain,
        "one": {**plain, "forwards": 6, "deterministic": True},
        "both": {**plain, "forwards": [1, 5], "deterministic": False},
        "nonsense": {**plain, "forwards": "many", "deterministic": "perhaps"},
        "too_many": {**plain, "forwards": [1, 2, 3]},
        "cached": {**plain, "cache": {"name": "dual", "refresh_every": 4}},
        "task@model": {
            **plain,
            "paper": "A paper",
            "arxiv": ["2602.18176"],
            "when": "on  Sundays",
            "modality": "image",
            "forwards": 1,
            "deterministic": True,
        },
        "gone": {**plain, "score": "margin"},
    }
    return [Component(name, preset, f"about {name}") for name, preset in presets.items()]
"""


@pytest.fixture
def presets(toy, monkeypatch):
    toy.add("odd", {"odd.py": PLUGIN, "odd_parts.py": PARTS}, plugin="odd")
    registry = toy.registry()
    monkeypatch.setattr(registry_module, "_default", registry)
    return registry


def test_facts_are_those_that_a_preset_declares(presets):
    found = {part.name: facts(part, presets) for part in presets.of_kind("sampler") if part.distribution == "odd"}
    assert {name: (one.forwards, one.deterministic) for name, one in found.items()} == {
        "silent": (None, None),
        "one": ((6, 6), True),
        "both": ((1, 5), False),
        "nonsense": (None, None),
        "too_many": (None, None),
        "cached": (None, None),
        "task@model": ((1, 1), True),
        "gone": (None, None),
    }


def test_the_table_shows_what_is_known_and_leaves_the_rest_blank(presets):
    lines = CliRunner().invoke(main, ["samplers"]).stdout.splitlines()
    shown = {
        line.split()[0]: (line.split()[1:], lines[i + 1].strip()) for i, line in enumerate(lines) if line[0] != " "
    }
    assert shown["task@model"] == (["1", "auto", "image", "agree", "2602.18176"], "on Sundays")
    assert shown["both"] == (["1", "to", "5", "auto", "any", "differ"], "about both")
    assert shown["silent"] == (["auto", "any"], "about silent")
    assert shown["cached"][0] == ["dual", "any"]
    assert shown["gone"][0] == ["any"]
    assert shown["gone"][1].startswith("cannot be composed: unknown score 'margin'")


def test_json_has_the_same_and_the_paper(presets):
    rows = {r["name"]: r for r in json.loads(CliRunner().invoke(main, ["samplers", "--json"]).stdout)["samplers"]}
    assert rows["both"]["forwards_per_step"] == {"least": 1, "most": 5}
    assert rows["silent"]["forwards_per_step"] is None
    assert rows["task@model"]["about"] == {
        "paper": "A paper",
        "arxiv": ["2602.18176"],
        "when": "on  Sundays",
        "modality": "image",
        "forwards": 1,
        "deterministic": True,
    }
    assert (rows["task@model"]["distribution"], rows["task@model"]["problem"]) == ("odd", None)
    assert "pip install mdmkit-heuristics" in rows["gone"]["problem"]


def test_a_plugin_file_s_presets_are_listed(presets, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        PARTS + "from mdmkit import Component, hookimpl\n"
        "@hookimpl\ndef mdmkit_select(): return [Component('mine', Warm)]\n"
        "@hookimpl\ndef mdmkit_sampler(): return [Component('my', {'score': 'flat', 'select': 'mine', "
        "'forwards': [1, 7]})]\n"
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
