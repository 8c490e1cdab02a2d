"""Where `mdmkit lm-eval` computes: without `--device` as the other commands do, and not on the harness's cuda:0."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


def with_device(arguments: Sequence[str]) -> list[str]:
    """Add `--device auto` to the harness's arguments, if they are for the model `mdmkit` and name no device.

    The model itself cannot do this: it does not learn if cuda:0 is the harness's default, or was asked for.
    """
    parser = ArgumentParser(add_help=False, argument_default=SUPPRESS, exit_on_error=False)
    for names in (["--config", "-C"], ["--model", "-M"], ["--device"]):
        parser.add_argument(*names, nargs="?")  # the harness says what is wrong with them
    asked = vars(parser.parse_known_args(list(arguments))[0])
    asked = _read(asked.get("config")) | asked
    added = asked.get("model") == "mdmkit" and not asked.get("device")
    return [*arguments, *(["--device", "auto"] if added else [])]


def _read(config: str | None) -> dict[str, Any]:
    """The keys of a configuration file; none if it cannot be read, which the harness says."""
    try:
        found = yaml.safe_load(Path(config).read_text()) if config else {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
