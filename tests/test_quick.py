"""`make quick` touches every sub-package of the core and every plugin."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import mdmkit

ROOT = Path(__file__).resolve().parents[1]


def quick_files() -> list[Path]:
    """The test files that `make quick` names."""
    printed = subprocess.run(
        ["make", "--no-print-directory", "--eval", "print-quick: ; @echo $(QUICK)", "print-quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in printed.split()]


def rooms_of(file: Path) -> set[str]:
    """The sub-packages of the core that a file imports from, also by way of `from mdmkit import NAME`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("mdmkit"):
            continue
        if node.module == "mdmkit":
            found |= {mdmkit._HOME.get(each.name, "").split(".")[0] for each in node.names}
        elif node.module.startswith("mdmkit."):
            found.add(node.module.split(".")[1])
    return found


def test_every_file_is_there():
    assert [str(file) for file in quick_files() if not file.is_file()] == []


def test_every_room_and_every_plugin_is_touched():
    files = quick_files()
    rooms = {folder.name for folder in (ROOT / "mdmkit").iterdir() if (folder / "__init__.py").is_file()}
    assert rooms - set().union(*map(rooms_of, files)) == set()
    plugins = {folder.name for folder in (ROOT / "plugins").glob("mdmkit-*")}
    assert plugins == {file.relative_to(ROOT / "plugins").parts[0] for file in files if "plugins" in file.parts}
