"""The suite of commands holds for the core's own, and each broken command fails the test of its law alone."""

from __future__ import annotations

import pytest

from mdmkit import Component
from mdmkit.installed import builtin, registry
from mdmkit.testing import CommandContract


@pytest.mark.parametrize("listed", builtin.mdmkit_command(), ids=lambda listed: listed.name)
class TestOfTheCore(CommandContract):
    @pytest.fixture(autouse=True)
    def _listed(self, listed, monkeypatch):
        self.one = listed
        monkeypatch.setattr(registry, "_default", None)

    def make(self):
        return self.one


LISTED = Component("greet", "greeting.cli:greet", "say hello")

GREETING = '''
import click

@click.command()
@click.option("--loud", is_flag=True, help="Shout.")
@click.argument("name")
def greet(loud, name):
    """Say hello to NAME."""
'''

PLUGIN = """
from mdmkit import Component, hookimpl

@hookimpl
def mdmkit_command():
    return [Component("greet", "greeting.cli:greet", "say hello")]
"""


@pytest.fixture
def suite(site, monkeypatch):
    """The suite of a command `greet` that is installed from source text."""

    def make(source=GREETING, listed=LISTED):
        files = {"greeting/__init__.py": "", "greeting/plugin.py": PLUGIN, "greeting/cli.py": source}
        site.add("greeting", files, plugin="greeting.plugin")
        monkeypatch.setattr(registry, "_default", site.registry())
        return type("Suite", (CommandContract,), {"component": listed})()

    return make


def test_a_command_that_keeps_the_laws_passes_them(suite, broken_laws):
    assert broken_laws(suite()) == []


BROKEN = {
    "another name": ("@click.command()", '@click.command("hail")', "test_is_registered_under_its_name"),
    "no help of an option": (', help="Shout."', "", "test_every_command_option_and_argument_is_explained"),
    "a blank help": ('"Shout."', '" "', "test_every_command_option_and_argument_is_explained"),
    "silent about an argument": ("to NAME", "", "test_every_command_option_and_argument_is_explained"),
    "no docstring": ('"""Say hello to NAME."""', "pass", "test_every_command_option_and_argument_is_explained"),
    "takes any option": (
        "@click.command()",
        '@click.command(context_settings={"ignore_unknown_options": True})',
        "test_an_unknown_option_is_refused",
    ),
    "no help": ("@click.command()", "@click.command(add_help_option=False)", "test_help_is_shown"),
    "torch at the top": ("import click", "import click, torch", "test_its_module_does_not_import_torch"),
}


@pytest.mark.parametrize(("old", "new", "law"), BROKEN.values(), ids=BROKEN)
def test_a_broken_command_fails_the_test_of_its_law_alone(old, new, law, suite, broken_laws):
    assert old in GREETING
    assert broken_laws(suite(GREETING.replace(old, new))) == [law]


def test_a_component_without_a_summary_is_refused(suite, broken_laws):
    listed = Component("greet", "greeting.cli:greet")
    assert broken_laws(suite(listed=listed)) == ["test_has_a_summary_of_one_line"]


def test_a_command_that_is_not_registered_is_refused(suite, broken_laws):
    source = GREETING + '\n@click.command("greet")\ndef hail():\n    """Say hail."""\n'
    listed = Component("greet", "greeting.cli:hail", "say hail")
    assert broken_laws(suite(source, listed)) == ["test_is_registered_under_its_name"]


def test_a_target_that_is_no_command_is_refused(suite):
    with pytest.raises(AssertionError, match="click command"):
        suite(GREETING.replace("@click", "# @click")).test_is_a_click_command()
    with pytest.raises(pytest.fail.Exception, match="no 'hail'"):
        type(
            "Suite", (CommandContract,), {"component": Component("greet", "greeting.cli:hail", "")}
        )().test_help_is_shown()


def test_commands_of_a_group_are_tested_too(suite, broken_laws):
    source = GREETING.replace("def greet", "def once") + (
        '\n@click.group()\ndef greet():\n    """Say hello."""\n\ngreet.add_command(once)\n'
    )
    tested = suite(source)
    assert broken_laws(tested) == []
    assert [path for path, _ in tested._commands()] == [("greet",), ("greet", "once")]


def test_torch_inside_a_group_is_found(suite):
    source = GREETING.replace("@click.command()", "import torch\n\n@click.command()")
    with pytest.raises(AssertionError, match=r"greeting\.cli imports torch"):
        suite(source).test_its_module_does_not_import_torch()
