"""`mdmkit plugins`: what is installed, and what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from mdmkit.cli.options import plugin_option
from mdmkit.cli.saying import say
from mdmkit.installed import registry
from mdmkit.terminal import to_json, visible
from mdmkit.version import __version__

if TYPE_CHECKING:
    from mdmkit.installed.part import Broken, Part


@click.command()
@click.option("--broken", "only_broken", is_flag=True, help="List the plugins that were set aside, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@plugin_option
def plugins(only_broken: bool, as_json: bool) -> None:
    """List the installed parts by kind, and the distributions that bring them."""
    found = registry.default()
    if as_json:
        click.echo(to_json(_document(found), indent=2))
    elif only_broken:
        _print_broken(found.broken)
    else:
        _print_parts(found.parts)
        if found.broken:
            names = ", ".join(plugin.distribution for plugin in found.broken)
            say(f"\nSet aside as broken: {names}. See why: mdmkit plugins --broken", err=True)


def _document(found: registry.Registry) -> dict[str, object]:
    fields = ("kind", "name", "distribution", "version", "summary")
    return {
        "mdmkit": __version__,
        "parts": [{field: getattr(part, field) for field in fields} for part in found.parts],
        "broken": [
            {"distribution": plugin.distribution, "version": plugin.version, "reason": plugin.reason}
            for plugin in found.broken
        ],
    }


def _print_parts(parts: tuple[Part, ...]) -> None:
    table = Table("kind", "name", "distribution", "version", "summary", box=None, pad_edge=False, header_style="bold")
    for column in table.columns[:4]:
        column.no_wrap = True
    before = None
    for part in parts:
        kind = part.kind if part.kind != before else ""
        table.add_row(*map(visible, (kind, part.name, part.distribution, part.version, part.summary)))
        before = part.kind
    Console(markup=False, highlight=False, emoji=False).print(table)


def _print_broken(broken: tuple[Broken, ...]) -> None:
    if not broken:
        click.echo("No plugin is broken.")
    for plugin in broken:
        say(f"{plugin.distribution} {plugin.version}: {plugin.reason}")
