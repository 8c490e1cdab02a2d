"""The contract of a command: it has help texts, refuses unknown options, and does both without importing torch."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import click
import pytest
from click.testing import CliRunner, Result

from mdmkit.errors import MdmkitError
from mdmkit.installed import registry
from mdmkit.installed.hookspecs import Component
from mdmkit.installed.target import fetch
from mdmkit.testing.contract import Contract

# Import a module by its name, or, if it has no name, run its file; then list the imported modules.
IMPORTING = """
import importlib.util, json, runpy, sys
name, file = sys.argv[1:]
try:
    found = importlib.util.find_spec(name)
except (ImportError, ValueError):
    found = None
importlib.import_module(name) if found else runpy.run_path(file, run_name=name)
print(json.dumps("torch" in sys.modules))
"""


class CommandContract(Contract):
    """Set `component` to the `Component` of the plugin's hook `mdmkit_command`. The plugin must be installed.

    All commands of a group are tested.
    """

    component: ClassVar[Component | None] = None

    def make(self) -> Component:
        """Return the component under test."""
        assert self.component is not None, f"{type(self).__name__}: set `component`, or define `make`"
        return self.component

    def test_is_a_click_command(self) -> None:
        command = self._command()
        assert isinstance(command, click.Command), f"the target is a click command, not {command!r}"

    def test_is_registered_under_its_name(self) -> None:
        listed, command = self.make(), self._command()
        parts = [part for part in registry.default().of_kind("command") if part.name == listed.name]
        assert parts, f"no installed plugin registers a command {listed.name!r}"
        loaded = [registry.default().load(part) for part in parts]
        assert any(target is command for target in loaded), f"{listed.name!r} is registered with another target"
        assert command.name == listed.name, f"click calls it {command.name!r}, and the component {listed.name!r}"

    def test_has_a_summary_of_one_line(self) -> None:
        summary = self.make().summary
        assert summary.strip() and "\n" not in summary, "`mdmkit --help` shows the component's summary, one line"

    def test_help_is_shown(self) -> None:
        for path, _ in self._commands():
            result = self._invoke(path, "--help")
            assert result.exit_code == 0, f"{_typed(path)} --help exits {result.exit_code}:\n{result.output}"
            assert "Usage:" in result.output, f"{_typed(path)} --help shows no usage:\n{result.output}"

    def test_every_command_option_and_argument_is_explained(self) -> None:
        for path, command in self._commands():
            text = command.help or ""
            assert text.strip(), f"{_typed(path)} has no help: write a docstring"
            for parameter in command.params:
                shown, own = parameter.human_readable_name, getattr(parameter, "help", None)
                if getattr(parameter, "hidden", False) or (isinstance(own, str) and own.strip()):
                    continue
                assert isinstance(parameter, click.Argument), f"{_typed(path)}: {parameter.opts[-1]} has no help=…"
                named = re.search(rf"\b{re.escape(parameter.name or shown)}\b", text, re.I)
                assert named, f"{_typed(path)}: the docstring says nothing of the argument {shown}"

    def test_an_unknown_option_is_refused(self) -> None:
        for path, _ in self._commands():
            result = self._invoke(path, "--no-such-option")
            what = f"{_typed(path)} --no-such-option exits {result.exit_code}:\n{result.output}"
            assert isinstance(result.exception, SystemExit), what
            assert result.exit_code == 2, what
            assert "no such option" in result.output.lower(), what
            assert "Traceback" not in result.output, what

    def test_its_module_does_not_import_torch(self) -> None:
        name, file = self._module()
        env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        line = [sys.executable, "-c", IMPORTING, name, file]
        done = subprocess.run(line, env=env, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, f"{name} cannot be imported alone:\n{done.stderr}"
        assert not json.loads(done.stdout.splitlines()[-1]), (
            f"importing {name} imports torch: import it inside the function, so that --help stays fast"
        )

    def _command(self) -> Any:
        target = self.make().target
        if not isinstance(target, str):
            return target
        try:
            return fetch(target, f"the target of {self.make().name!r}", "the plugin")
        except MdmkitError as error:
            return pytest.fail(str(error))

    def _commands(self) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        """Every command of a group, with the words that a user types to call it."""
        return _below((self.make().name,), self._command())

    def _invoke(self, path: tuple[str, ...], option: str) -> Result:
        return CliRunner().invoke(self._command(), [*path[1:], option], prog_name=f"mdmkit {path[0]}")

    def _module(self) -> tuple[str, str]:
        """The name and the file of the module that holds the command."""
        target = self.make().target
        name = (
            target.partition(":")[0] if isinstance(target, str) else inspect.unwrap(self._command().callback).__module__
        )
        self._command()
        return name, getattr(sys.modules.get(name), "__file__", None) or ""


def _below(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _below((*path, name), inner)


def _typed(path: tuple[str, ...]) -> str:
    return " ".join(("mdmkit", *path))
