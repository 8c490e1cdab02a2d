"""The parts of this distribution."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_command() -> list[Component]:
    return [Component("serve", "mdmkit_serve.cli:serve", "answer requests in the form of OpenAI's API")]
