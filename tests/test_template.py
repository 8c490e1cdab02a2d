"""A plugin of one's own: the template's copy, and a single file, work beside Info-Gain without a change to either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "plugins" / "template"
MDMKIT = (sys.executable, "-c", "from mdmkit.cli import main; main()")

TOY = """
from mdmkit import Component, hookimpl

@hookimpl
def mdmkit_backbone():
    return [Component("toy", "mdmkit.testing.toy:ToyBackbone", "a toy")]
"""

MINE = '''
from dataclasses import dataclass

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_score():
    return [Component("mine", "my:Mine", "the last position first")]


@dataclass(frozen=True)
class Mine:
    """Minus the distance to the end."""

    weight: float = 2.0

    def __call__(self, step):
        return self.weight * step.position
'''


def run(*command: object, cwd: Path, site: Path | None = None) -> str:
    """Run a command, with `site` in front of what is installed; return what it printed."""
    paths = [str(site)] if site else []
    paths += [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The template, copied by the commands of its README and installed into a directory of its own."""
    folder = tmp_path_factory.mktemp("copy")
    (folder / "plugins").symlink_to(ROOT / "plugins")
    commands = (TEMPLATE / "README.md").read_text().split("```")[1]
    run("bash", "-euc", commands, cwd=folder)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(*pip, "--target", folder / "site", folder / "my-plugin", cwd=folder)
    (folder / "toy.py").write_text(TOY)
    return folder


def decoded(folder: Path, *options: str, site: Path | None = None) -> dict:
    model = ("--plugin", "toy.py", "--model", "toy:0", "--prompt", "ab", "--set", "plan.length=6")
    return json.loads(
        run(*MDMKIT, "decode", "--sampler", "info_gain", *model, *options, "--json", cwd=folder, site=site)
    )


def test_the_template_is_complete_in_under_forty_lines():
    files = [TEMPLATE / "pyproject.toml", *(TEMPLATE / "src").rglob("*.py"), *(TEMPLATE / "tests").rglob("*.py")]
    assert len(files) == 5
    assert sum(bool(line.strip()) for file in files for line in file.read_text().splitlines()) < 40


def test_no_distribution_depends_on_the_template():
    for file in (ROOT / "pyproject.toml", *(ROOT / "plugins").glob("mdmkit-*/pyproject.toml")):
        project = tomllib.loads(file.read_text())["project"]
        extras = project.get("optional-dependencies", {}).values()
        needs = [*project["dependencies"], *(need for extra in extras for need in extra)]
        assert not [need for need in needs if need.startswith("mdmkit-template")], file


def test_a_copy_passes_the_contract_it_inherits(copy):
    out = run(sys.executable, "-m", "pytest", "-q", "tests", cwd=copy / "my-plugin", site=copy / "site")
    assert " passed" in out
    assert "failed" not in out


def test_a_copy_installed_elsewhere_composes_with_info_gain(copy):
    document = decoded(copy, "--set", "score=mine", site=copy / "site")
    assert document["sampler"]["score"] == {"name": "mine", "bonus": 0.1}
    assert document["sampler"]["lookahead"]["name"] == "info_gain"
    (row,) = document["rows"]
    assert len(row["text"]) == 6
    assert "_" not in row["text"]


def test_the_example_of_a_copy_names_its_score(copy):
    document = decoded(copy, "--config", str(copy / "my-plugin" / "example.yaml"), site=copy / "site")
    assert document["sampler"]["score"] == {"name": "mine", "bonus": 0.2}


def test_a_plugin_from_a_file_composes_with_info_gain(tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "my.py").write_text(MINE)
    alone = ("--set", "select.candidates=1", "--set", "select.bypass=null")
    document = decoded(tmp_path, "--plugin", "my.py", "--set", "score=mine", *alone)
    assert document["sampler"]["score"] == {"name": "mine", "weight": 2.0}
    (row,) = document["rows"]
    assert row["order"] == [5, 4, 3, 2, 1, 0]
