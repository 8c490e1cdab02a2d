"""Every distribution builds a wheel that works alone beside the core's, and every dependency is pinned."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
SITE = Path(sysconfig.get_paths()["purelib"])
PLUGINS = sorted(file.parent.name for file in (ROOT / "plugins").glob("mdmkit-*/pyproject.toml"))
OWN = re.compile(r"_*(editable_+)?_*(impl_)?mdmkit|__editable__|.*\.pth$")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def run(*command: object, cwd: Path) -> str:
    """Run a command as a user would who has nothing but the installed packages; return what it printed."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    """The wheel of each distribution, by name."""
    folder = tmp_path_factory.mktemp("wheels")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, ROOT, *(ROOT / "plugins" / name for name in PLUGINS), cwd=folder)
    return {normal(file.name.split("-")[0]): file for file in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def third_party(tmp_path_factory) -> Path:
    """Everything that is installed here, but for mdmkit's own distributions."""
    folder = tmp_path_factory.mktemp("third_party")
    for entry in SITE.iterdir():
        if not OWN.match(entry.name):
            (folder / entry.name).symlink_to(entry)
    return folder


def needed(name: str, wheels: dict[str, Path]) -> set[str]:
    """A distribution and all of mdmkit's own that it requires."""
    with zipfile.ZipFile(wheels[name]) as wheel:
        (path,) = [path for path in wheel.namelist() if path.endswith(".dist-info/METADATA")]
        requires = email.message_from_bytes(wheel.read(path)).get_all("Requires-Dist") or []
    needs = [Requirement(line) for line in requires]
    own = {normal(need.name) for need in needs if not need.marker} & set(wheels)
    return {name}.union(*(needed(other, wheels) for other in own))


@pytest.mark.parametrize("name", PLUGINS)
def test_a_wheel_installs_and_passes_check_beside_the_cores(name, wheels, third_party, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    (own_site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (own_site / "third_party.pth").write_text(f"{third_party}\n")
    installed = sorted(needed(name, wheels) | {"mdmkit"})
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, *(wheels[other] for other in installed), cwd=tmp_path)

    mdmkit = tmp_path / "venv" / "bin" / "mdmkit"
    here = run(python, "-c", "import mdmkit; print(mdmkit.__file__)", cwd=tmp_path)
    assert Path(here.strip()).is_relative_to(tmp_path), "the wheel's own files are what is tested"
    points = metadata.Distribution.at(next(own_site.glob(f"{name.replace('-', '_')}-*.dist-info"))).entry_points
    with_parts = {name} if points.select(group="mdmkit") else set()
    if not with_parts:  # it is a plugin of another program
        run(python, "-c", f"import {next(iter(points)).module}", cwd=tmp_path)
    checked = run(mdmkit, "check", cwd=tmp_path)
    assert not with_parts or re.search(rf"^ok +.* of {name} ", checked, re.M), checked
    parts = json.loads(run(mdmkit, "plugins", "--json", cwd=tmp_path))["parts"]
    present = {part["distribution"] for part in parts}
    assert with_parts <= present <= set(installed), "no other distribution is in sight"


def test_every_wheel_says_that_it_is_typed(wheels):
    for name in ("mdmkit", *PLUGINS):
        with zipfile.ZipFile(wheels[name]) as wheel:
            assert f"{name.replace('-', '_')}/py.typed" in wheel.namelist(), name


def test_every_dependency_is_pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {normal(name) for name in pins}
    files = [ROOT / "pyproject.toml", *(ROOT / "plugins" / name / "pyproject.toml" for name in PLUGINS)]
    projects = [tomllib.loads(file.read_text())["project"] for file in files]
    seen = {normal(project["name"]) for project in projects}
    todo, missing = [Requirement(need) for project in projects for need in project["dependencies"]], set()
    while todo:
        need = todo.pop()
        name = normal(need.name)
        # What a package itself requires at one exact version, as torch its CUDA libraries, needs no second pin.
        exact = any(specifier.operator == "==" for specifier in need.specifier)
        if name in seen or exact or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        missing |= {name} - pinned
        todo += [Requirement(line) for line in metadata.requires(name) or ()]
    assert not missing, "constraints.txt has no pin for these"
    assert pins["torch"] == "2.13.0", "an open or local torch version pulls in gigabytes of CUDA packages"
