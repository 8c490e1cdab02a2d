"""The group `mdmkit`. Its commands are parts, and each is imported only when it is called."""

from __future__ import annotations

import errno
import gettext
import io
import sys
from typing import Any

import click

from mdmkit.cli.notes import notes_shown
from mdmkit.cli.saying import paragraph
from mdmkit.errors import MdmkitError, is_out_of_memory
from mdmkit.installed import registry
from mdmkit.version import __version__


class Refused(click.ClickException):
    """An `MdmkitError` as the command line shows it: one paragraph, exit code 2."""

    exit_code = 2


class Failed(click.ClickException):
    """An unexpected error, also as one paragraph: exit code 1."""


def _story(error: BaseException) -> str:
    said = " ".join(str(error).split())[:500]
    if is_out_of_memory(error):
        return f"out of memory. Lower --batch, the length or the number of candidates. ({said})"
    where = "Run `mdmkit --debug …` to see where it was raised. If that is in a plugin, the plugin is the cause."
    return f"{type(error).__name__}: {said}. {where}"


def _file_trouble(error: BaseException) -> str | None:
    """What is wrong with a file, or with the terminal; None if the error is about something else."""
    if isinstance(error, OSError) and error.errno != errno.ENOMEM:
        return f"{error.filename or 'standard output'}: {error.strerror or error}."
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return "the name of a file holds a NUL, which no file system allows. Name another file."
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # before Python 3.13
        return f"{error}. Name a file, not a link to itself."
    return None


def _write_anything() -> None:
    """Print a question mark for a character that a terminal without UTF-8 cannot show, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


class Commands(click.Group):
    """A group whose commands come from the hook `mdmkit_command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({part.name for part in registry.default().of_kind("command")})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        parts = registry.default()
        part = parts.find("command", cmd_name)
        command = parts.load(part)
        if not isinstance(command, click.Command):
            raise MdmkitError(f"{part} is {command!r}, and must be a click command.")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their summaries. The method of click would import every command."""
        rows = [(part.name, part.summary) for part in registry.default().of_kind("command")]
        with formatter.section(gettext.gettext("Commands")):
            formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:
            error.message = paragraph(error.message)  # type: ignore[misc]
            raise

    def invoke(self, ctx: click.Context) -> Any:
        _write_anything()
        debug = ctx.params.get("debug")
        try:
            with notes_shown():
                return super().invoke(ctx)
        except MdmkitError as error:
            if debug:
                raise
            raise Refused(paragraph(str(error))) from error
        except KeyboardInterrupt:
            click.echo("Stopped before any row was finished.", err=True)
            raise SystemExit(130) from None
        except click.ClickException as error:
            error.message = paragraph(error.message)  # type: ignore[misc]
            raise
        except (click.exceptions.Exit, click.Abort, SystemExit):
            raise
        except BaseException as error:  # a panic of a library in Rust is no Exception
            if debug or isinstance(error, BrokenPipeError):
                raise
            if said := _file_trouble(error):
                raise Refused(paragraph(said)) from error
            raise Failed(paragraph(_story(error))) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mdmkit")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Decode masked diffusion models with samplers composed from parts."""
