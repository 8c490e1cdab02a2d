"""Compose a sampler from its parts. The sampler needs no registry and no config any more."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from mdmkit.config.resolution import STAGES, resolve
from mdmkit.config.schema import build, parameters
from mdmkit.errors import MdmkitError, shown, unknown
from mdmkit.installed.part import Part
from mdmkit.installed.registry import Registry, default
from mdmkit.loop.sampler import Sampler
from mdmkit.settings.draw import Draw, Guidance
from mdmkit.settings.plan import Plan
from mdmkit.stage.checking import check_part
from mdmkit.stage.traits import HOMES, trait

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def compose(
    preset: str | None = None,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    overrides: Iterable[str] = (),
    registry: Registry | None = None,
    **nodes: Any,
) -> Sampler:
    """Make a sampler from a preset, a configuration, or its parts.

        compose("info_gain", plan={"length": 64}, select={"candidates": 4})
        compose(score="margin", select={"name": "top_k", "temperature": 0.5})
        compose("info_gain", score=MyScore(), overrides=["draw.temperature=0.7"])

    Args:
        preset: the name of an installed sampler.
        config: a mapping, such as the `config` of another sampler, or the path of a YAML file.
        overrides: `KEY=VALUE` strings, as after `--set`.
        registry: the registry of parts; None: the installed parts.
        nodes: score, select, lookahead, commit, search, plan, draw, guidance, cache, seed. Later layers override
            earlier ones, and these are the last. A stage may be a name, a dict, None, or an instance of a callable
            dataclass.

    Raises:
        MdmkitError: an unknown name or key, a bad value, or parts that do not fit together.
    """
    registry = registry or default()
    if preset is not None and not isinstance(preset, str):
        raise MdmkitError(f"compose wants the name of a sampler first, not {preset!r}; give parts by keyword: score=…")
    if isinstance(overrides, str):
        raise MdmkitError(f"overrides is a list of KEY=VALUE: write [{overrides!r}].")
    found = resolve(preset, config, overrides, nodes, registry=registry)
    resolved = dict(found.config)
    stages: dict[str, Any] = {}
    for kind in STAGES:
        node = resolved[kind]
        if kind in found.given or node is None:
            stages[kind] = found.given.get(kind)
            if stages[kind] is not None:
                check_part(kind, stages[kind])
        else:
            values = {key: value for key, value in node.items() if key != "name"}
            stages[kind] = instantiate(found.parts[kind], values, registry)
            # The class is loaded now, so every default is known.
            resolved[kind] = {"name": node["name"], **parameters(stages[kind])}
    _check_pairing(resolved, stages, registry)
    draw = build(Draw, resolved["draw"], "draw", "draw")
    resolved["draw"] = parameters(draw)
    guidance = build(Guidance, resolved["guidance"], "guidance", "guidance")
    resolved["guidance"] = parameters(guidance)
    return Sampler(
        **stages,
        plan=build(Plan, resolved["plan"], "plan", "plan"),
        draw=draw,
        guidance=guidance,
        **_cache(resolved["cache"]),
        seed=resolved["seed"],
        name=resolved.get("sampler", "custom"),
        config=resolved,
    )


def make_part(kind: str, node: str | Mapping[str, Any], registry: Registry | None = None) -> Any:
    """Make one part from its configuration: its name, or a mapping with `name` and its parameters.

    Raises:
        MdmkitError: an unknown kind, name or parameter, or a bad value.
    """
    if kind not in HOMES:
        raise MdmkitError(unknown("kind of part", str(kind), HOMES))
    values = {"name": node} if isinstance(node, str) else dict(node)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise MdmkitError(f"{kind} is {shown(node)}: write its name, or a mapping with 'name' and its parameters.")
    registry = registry or default()
    return instantiate(registry.find(kind, name), values, registry)


def _cache(node: Any) -> dict[str, Any]:
    if isinstance(node, str):
        return {"cache": node}
    return {"cache": node["name"], "refresh_every": node.get("refresh_every")}


def instantiate(part: Part, values: Mapping[str, Any], registry: Registry) -> Any:
    """Import a stage's class and make it with the given parameters."""
    cls = registry.load(part)
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        raise MdmkitError(f"{part} is {cls!r}, and {_a(part.kind)} must be a dataclass: its fields are its parameters.")
    stage = build(cls, values, f"{part.kind} {part.name!r}", part.kind)
    if part.kind in HOMES:
        check_part(part.kind, stage, f"{part} (class {cls.__name__})")
    elif not callable(stage):
        raise MdmkitError(
            f"{part} is the class {cls.__name__}, which has no __call__: {_a(part.kind)} must be callable."
        )
    return stage


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _check_pairing(config: Mapping[str, Any], stages: Mapping[str, Any], registry: Registry) -> None:
    alternatives = trait("select", stages["select"], "alternatives")
    if alternatives > 1 and stages["lookahead"] is None and not trait("search", stages["search"], "chooses"):
        node = config["select"]
        fewer = next(
            (f"{key}=1" for key, value in node.items() if value == alternatives and key != "name"), "another select"
        )
        installed = ", ".join(part.name for part in registry.of_kind("lookahead")) or "none"
        raise MdmkitError(
            f"select {node['name']!r} proposes {alternatives} alternatives but no lookahead chooses among them: "
            f"add lookahead=… (installed: {installed}), or {fewer}."
        )
