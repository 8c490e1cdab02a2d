"""The command keeps the laws of commands."""

from __future__ import annotations

from mdmkit.testing import CommandContract
from mdmkit_image.plugin import mdmkit_command


class TestImage(CommandContract):
    (component,) = mdmkit_command()
