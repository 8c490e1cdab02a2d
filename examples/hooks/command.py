"""A command: list the tokens that a model knows."""

from __future__ import annotations

import click

from mdmkit import Component, hookimpl


@click.command()
@click.argument("model", default="zoo:puzzles")
def vocabulary(model):
    """Print the tokens of a model, one a line."""
    import mdmkit  # here and not above: `mdmkit --help` imports this file

    backbone = mdmkit.load(model)
    for token in range(backbone.vocab):
        click.echo(f"{token:6d} {backbone.render(token)!r}")


@hookimpl
def mdmkit_command():
    return [Component("vocabulary", vocabulary, "print a model's tokens")]
