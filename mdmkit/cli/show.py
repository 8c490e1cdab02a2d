"""`mdmkit show`: a sampler's whole configuration, and the distribution of each part."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from mdmkit.cli.options import composing
from mdmkit.cli.saying import say
from mdmkit.config.resolution import ABOUT, KEYS, STAGES, Resolved, resolve
from mdmkit.config.schema import build
from mdmkit.errors import MdmkitError
from mdmkit.installed import registry
from mdmkit.settings.draw import Draw, Guidance
from mdmkit.settings.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("sampler", required=False)
@composing
def show(sampler: str | None, config: Path | None, overrides: tuple[str, ...]) -> None:
    """Print the configuration of SAMPLER, or of a --config file, as YAML that --config can read.

    A configuration that `decode` would refuse is refused.
    """
    if sampler is None and config is None:
        raise MdmkitError(
            "name a sampler, as in `mdmkit show info_gain`, or a --config file; `mdmkit plugins` lists samplers."
        )
    resolved = resolve(sampler, config, overrides, registry=registry.default())
    for name, kind in (("plan", Plan), ("draw", Draw), ("guidance", Guidance)):
        build(kind, resolved.config[name], name, name)
    plain = resolve(sampler, registry=registry.default()).config if sampler is not None else {}
    if any(resolved.config[key] != plain.get(key) for key in (*STAGES, "cache")):
        # Only now: this imports torch, and takes a second. Presets are known to compose.
        from mdmkit.config.compose import compose

        compose(sampler, config=config, overrides=overrides, registry=registry.default())
    say("\n".join(lines(resolved)))


def lines(resolved: Resolved) -> Iterator[str]:
    """Write a resolved configuration as YAML, one key per line."""
    config, about = resolved.config, resolved.config.get("about", {})
    preset = resolved.parts.get("sampler")
    if preset is not None:
        if preset.summary:
            yield f"# {' '.join(preset.summary.split())}"
        yield _entry("sampler", config["sampler"], preset.origin)
    for key in ABOUT:
        if about.get(key) not in (None, "", []):
            yield _entry(key, about[key])
    for key in KEYS:
        yield _entry(key, config[key], resolved.parts[key].origin if key in resolved.parts else "")


def _entry(key: str, value: Any, origin: str = "") -> str:
    entry = f"{key + ':':<10} {flow(value)}"
    return f"{entry}  # {origin}" if origin else entry


def flow(value: Any) -> str:
    """A plain value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return ".nan" if value != value else ".inf" if value > 0 else "-.inf"
    plain_word = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.-]*", value, re.ASCII)
    if plain_word and value.lower() not in ("null", "true", "false", "yes", "no", "on", "off", "y", "n"):
        return value
    # JSON is YAML for every other scalar, quoted texts included.
    return json.dumps(value, ensure_ascii=False)
