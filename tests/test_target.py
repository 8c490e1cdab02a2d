"""`-` as the name of what a command writes: standard output or a refusal, never a file or a directory of that name."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mdmkit.cli import main
from mdmkit.cli.target import Target
from mdmkit.errors import MdmkitError

WRITES = ("--output", "--trace", "--svg")


def commands(group, path=()):
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


OPTIONS = [
    (name, option) for name, command in commands(main) for option in command.params if {*option.opts} & {*WRITES}
]


def test_every_command_that_writes_was_found():
    found = {name.split()[0] for name, _ in OPTIONS}
    assert {"decode", "trace", "bench", "corpus", "eval", "compare", "reproduce", "image", "zoo"} <= found


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=lambda value: value if isinstance(value, str) else value.name)
def test_a_dash_is_standard_output_or_refused(name, option):
    assert isinstance(option.type, Target), f"{name} {option.opts[0]}"
    if name in ("decode", "trace", "bench"):
        assert option.type.convert("-", option, None) == Path("/dev/stdout")
        return
    with pytest.raises(MdmkitError) as caught:
        option.type.convert("-", option, None)
    assert str(caught.value).startswith(f"{option.opts[0]} -: ")


def test_a_dash_is_refused_before_anything_else_and_a_path_to_one_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("1+1=2\n")
    for line, what in (
        (["eval", "--task", "sudoku4"], "a directory"),
        (["compare", "--tasks", "sudoku4", "--samplers", "confidence"], "a directory"),
        (["corpus", "build", "a.txt", "--model", "zoo:puzzles"], "a file"),
        (["reproduce", "info_gain", "--table", "reasoning"], "a directory"),
    ):
        result = CliRunner().invoke(main, [*line, "--output", "-"])
        assert result.exit_code == 2, result.output
        said = " ".join(result.stderr.split())
        assert f"Error: --output -: this is written into {what}, and not to standard output." in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    result = CliRunner().invoke(main, ["corpus", "build", "a.txt", "--model", "zoo:puzzles", "--output", "./-"])
    assert result.exit_code == 0 and (tmp_path / "-").is_file(), result.output
