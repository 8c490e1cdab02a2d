"""The structure of `mdmkit/`: rooms in one order, imports that only point down, and no circle."""

from __future__ import annotations

import ast
import json
import re
import statistics
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from mdmkit._moved import MOVED

ROOT = Path(__file__).resolve().parents[1]
# From the ground up; a room imports from itself and from those before it.
ROOMS = [
    *("version", "_gone", "errors", "_moved", "terminal", "whole_file", "from_json"),
    *("largest", "ops", "noise", "settings", "installed", "canvas", "model", "stage", "loop"),
    *("config", "decoding", "likelihood", "watch", "hf", "task", "cli", "testing"),
]


def modules(package: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules that a file imports, those for the type checker included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= whole & set(known) or {node.module}
    return found & set(known)


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    known = modules(ROOT / "mdmkit")
    return {name: imports(path, known) - {name} for name, path in known.items()}


def test_no_imports_go_in_a_circle(graph: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_loop_fits_on_a_screen() -> None:
    """The algorithm box in 80 lines, and no function of the loop over 30."""
    assert len((ROOT / "mdmkit/loop/loop.py").read_text().splitlines()) <= 80
    long = [
        f"{path.name}: {node.name}"
        for path in sorted((ROOT / "mdmkit/loop").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 30
    ]
    assert long == []


def test_a_circle_would_be_found() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


def test_arrows_between_rooms_point_down(graph: dict[str, set[str]]) -> None:
    def floor(module: str) -> int:
        return ROOMS.index(module.split(".")[1])

    inner = {name: used for name, used in graph.items() if name not in ("mdmkit", "mdmkit.__main__")}
    up = [(name, other) for name, used in inner.items() for other in used if other == "mdmkit"]
    assert not up, "inside the core a name is imported from its own module"
    up = [(name, other) for name, used in inner.items() for other in used if floor(other) > floor(name)]
    assert not up


def test_every_room_has_its_place_in_the_order(graph: dict[str, set[str]]) -> None:
    found = {name.split(".")[1] for name in graph if "." in name} - {"__main__"}
    assert found == set(ROOMS)


def test_the_design_names_every_module_of_a_room() -> None:
    design = (ROOT / "docs" / "design.md").read_text()
    house = design[design.index("## 2. The house") : design.index("**Public names.**")]
    rooms = dict(re.findall(r"^  (\w+)/((?:.|\n {4,})*)", house, re.M))
    assert set(rooms) == {room for room in ROOMS if (ROOT / "mdmkit" / room).is_dir()} - {"cli", "testing"}
    for room, words in rooms.items():
        here = {path.stem for path in (ROOT / "mdmkit" / room).glob("*.py")} - {"__init__"}
        assert here <= set(re.findall(r"\w+", words)), room


def test_files_are_short(graph: dict[str, set[str]]) -> None:
    sizes = [len(path.read_text().splitlines()) for path in modules(ROOT / "mdmkit").values()]
    assert statistics.median(sizes) <= 120


# -- the paths of the first edition ----------------------------------------------------------------------------------


# In one process for all paths: what is asked is that each warns once, not that it is the first that is imported.
OLD_PATHS = """
import importlib, json, sys, warnings
import mdmkit._moved as moved

found = {}
for old in sorted(moved.MOVED):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module, where = importlib.import_module(f"mdmkit.{old}"), moved.MOVED[old]
        names = [name for name in where if name]
        if "" in where:
            new = importlib.import_module("mdmkit." + where[""])
            names += [name for name, value in vars(new).items() if getattr(value, "__module__", "") == new.__name__]
        values = [type(getattr(module, name)) is not type(module) for name in names]
    said = [str(one.message) for one in caught if "has moved" in str(one.message)]
    found[old] = {"names": names, "values": all(values), "said": said}
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def old_paths() -> dict[str, dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", OLD_PATHS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("old", sorted(MOVED))
def test_a_path_of_the_first_edition_imports_and_warns_once(old: str, old_paths: dict[str, dict[str, Any]]) -> None:
    found = old_paths[old]
    assert found["names"] and found["values"]
    (said,) = found["said"]
    assert said.startswith(f"mdmkit.{old} has moved")


def test_a_first_edition_import_statement_still_works() -> None:
    sys.modules.pop("mdmkit.step", None)
    with pytest.warns(DeprecationWarning, match=r"mdmkit\.step has moved.*from mdmkit import Step"):
        from mdmkit.step import Step
    from mdmkit import Step as new

    assert Step is new


def test_an_unknown_name_on_an_old_path_is_an_error() -> None:
    with pytest.raises(ImportError, match="Nothing"):
        from mdmkit.step import Nothing  # noqa: F401
