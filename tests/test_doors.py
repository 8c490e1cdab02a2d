"""Plugins and examples use public names only: `mdmkit`, the modules for stages, for tests and for commands."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mdmkit

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(init.parent for init in ROOT.glob("plugins/*/src/*/__init__.py"))
FILES = [*(file for folder in SOURCES for file in sorted(folder.rglob("*.py"))), *sorted(ROOT.glob("examples/**/*.py"))]
# The public modules, and the names that may be imported from each.
DOORS = {
    door: set(importlib.import_module(door).__all__) for door in ("mdmkit", "mdmkit.cli.commands", "mdmkit.testing")
}
DOORS["mdmkit"] |= {"noise", "ops", "__version__"}
COMPUTING = ("mdmkit.noise", "mdmkit.ops")


def not_public(source: str) -> Iterator[str]:
    """Every import from mdmkit that is through no door, as `line: name`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "mdmkit" and alias.name not in (*DOORS, *COMPUTING):
                    yield f"{node.lineno}: {alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mdmkit":
            for alias in node.names:
                if node.module not in COMPUTING and alias.name not in DOORS.get(node.module, ()):
                    yield f"{node.lineno}: {node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute) and (chain := ast.unparse(node)).startswith("mdmkit."):
            name = chain.split(".")[1]
            if name.isidentifier() and name not in (*DOORS["mdmkit"], "cli", "testing"):
                yield f"{node.lineno}: mdmkit.{name}"


@pytest.mark.parametrize("folder", [*SOURCES, ROOT / "examples"], ids=lambda folder: folder.name)
def test_only_public_names_are_imported(folder: Path) -> None:
    files = [file for file in FILES if file.is_relative_to(folder)]
    assert files
    assert not [f"{file.relative_to(ROOT)}:{found}" for file in files for found in not_public(file.read_text())]


@pytest.mark.parametrize(
    "line",
    [
        "from mdmkit.stage.write import Write",
        "def f():\n    from mdmkit.cli.output import write_json",
        "if TYPE_CHECKING:\n    from mdmkit.canvas.row import Row",
        "from mdmkit.cli import main",
        "from mdmkit.cli.commands import importlib",
        "from mdmkit import installed",
        "import mdmkit.loop.loop",
        "import mdmkit\nmdmkit.canvas.row.Row",
    ],
)
def test_a_deep_import_would_be_found(line: str) -> None:
    assert list(not_public(line))


def test_imports_through_the_doors_are_allowed() -> None:
    lines = [
        *(
            "import mdmkit",
            "import mdmkit_zoo.deep",
            "from mdmkit import Step, ops",
            "from mdmkit.noise import row_seed",
        ),
        *("from mdmkit.cli.commands import composing", "from mdmkit.testing import ToyBackbone", "mdmkit.load('x')"),
    ]
    assert not list(not_public("\n".join(lines)))


def test_plugins_do_not_import_each_other() -> None:
    packages = {folder.name for folder in SOURCES}
    assert len(packages) == len([*ROOT.glob("plugins/*/pyproject.toml")]) > 8
    for folder in SOURCES:
        for file in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                others = {module.split(".")[0] for module in modules} & packages - {folder.name}
                assert not others, f"{file.relative_to(ROOT)}: {others}"


@pytest.mark.parametrize("door", DOORS)
def test_every_public_name_resolves_and_is_listed_once(door: str) -> None:
    module = importlib.import_module(door)
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("door", ["mdmkit", "mdmkit.cli.commands"])
def test_the_type_checker_sees_what_is_fetched(door: str) -> None:
    """`__all__`, the table of homes and the block for the type checker agree, name by name and module by module."""
    module = importlib.import_module(door)
    source = Path(str(module.__file__)).read_text()
    (block,) = [n for n in ast.parse(source).body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            seen[alias.asname or alias.name] = (str(node.module).removeprefix("mdmkit."), alias.name)
    fetched = {name: tuple(home.split(":")) for name, home in module._HOME.items()}
    assert seen == {name: home if len(home) == 2 else (*home, name) for name, home in fetched.items()}
    assert set(seen) == set(module.__all__)


def test_the_door_for_commands_opens_without_torch() -> None:
    code = (
        "import sys\nimport mdmkit.cli.commands as door\n"
        "with_torch = ('as_engine', 'decode_batches', 'is_remote', 'opened')\n"
        "for name in door.__all__:\n    if name not in with_torch:\n        getattr(door, name)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(ImportError, match="nothing"):
        from mdmkit.cli.commands import nothing  # noqa: F401
    assert not hasattr(mdmkit, "nothing")


@pytest.mark.parametrize("folder", [ROOT / "mdmkit", *SOURCES], ids=lambda folder: folder.name)
def test_every_package_is_marked_as_typed(folder: Path) -> None:
    assert (folder / "py.typed").is_file()
