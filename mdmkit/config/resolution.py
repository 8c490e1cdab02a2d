"""The layers of a configuration, resolved to one plain dict: defaults, preset, file, `--set`, Python keywords.

Nothing here imports torch. A stage's node is a tagged union: a bare string or a new `name` replaces the node, so that
no parameter of the old part is left; a dict without a name, or with the same name, changes parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdmkit.config.layers import config_layer, override_layer, preset_layer, preset_name
from mdmkit.config.schema import Schema, build, parameters, read
from mdmkit.config.values import fit, plain
from mdmkit.errors import MdmkitError, unknown
from mdmkit.installed.part import Part
from mdmkit.installed.registry import Registry
from mdmkit.settings.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path

# The preset and the model where none is named.
DEFAULT_SAMPLER, DEFAULT_MODEL = "info_gain", "zoo:puzzles"
STAGES = ("score", "select", "lookahead", "commit", "search", "stop", "constraint")
# Kinds whose parts have methods, and are not called themselves.
NOT_CALLED = ("search", "constraint")
SECTIONS = ("plan", "draw", "guidance")
SCALARS = {"seed": (int, "a whole number")}
CACHE_KEYS: dict[str, tuple[Any, str]] = {
    "name": (str, "a name"),
    "refresh_every": (int | None, "a number of steps or null"),
}
KEYS = (*STAGES, *SECTIONS, "cache", *SCALARS)
# The keys by which a preset may describe itself; all are optional.
ABOUT = ("paper", "arxiv", "setting", "changed", "when", "note", "modality", "deterministic", "forwards")


@dataclass(frozen=True)
class Resolved:
    """A configuration with every layer applied.

    Attributes:
        config: plain values, ready for JSON and YAML. Given as `config`, it resolves to itself.
        parts: the registered parts: of the preset (`sampler`), and of every named stage.
        given: the stages that were given as Python objects.
    """

    config: dict[str, Any]
    parts: dict[str, Part]
    given: dict[str, Any]


def resolve(
    preset: str | None = None,
    config: Mapping[str, Any] | str | Path | None = None,
    overrides: Iterable[str] = (),
    nodes: Mapping[str, Any] | None = None,
    *,
    registry: Registry,
) -> Resolved:
    """Apply the layers in order and check every key and type that can be checked without importing a stage.

    Raises:
        MdmkitError: an unreadable file, an unknown key or name, a wrong type, or no score or select.
    """
    tree: dict[str, Any] = {
        **dict.fromkeys(STAGES),
        "plan": {},
        "draw": {},
        "guidance": {},
        "cache": {"name": "auto"},
        "seed": 0,
    }
    about: dict[str, Any] = {}
    parts: dict[str, Part] = {}
    where, layer = config_layer(config)
    preset = preset_name(preset, layer.pop("sampler", None), where)
    layer.pop("parts", None)  # the origin of the parts of a stored result
    if preset is not None:
        parts["sampler"] = registry.find("sampler", preset)
        _merge(tree, about, preset_layer(parts["sampler"]), str(parts["sampler"]))
    _merge(tree, about, layer, where)
    for override in overrides:
        _merge(tree, None, override_layer(tree, override), f"--set {override}")
    _merge(tree, None, nodes or {}, "compose")
    return _finish(preset, tree, about, parts, registry)


def _merge(tree: dict[str, Any], about: dict[str, Any] | None, layer: Mapping[str, Any], where: str) -> None:
    """Apply one layer to the tree. `about` collects its metadata; None if a layer may have none."""
    for key, value in layer.items():
        if key in STAGES:
            tree[key] = _merge_stage(key, tree[key], value, where)
        elif key in SECTIONS:
            tree[key] = _merge_section(key, tree[key], value, where)
        elif key == "cache":
            tree[key] = _merge_cache(tree[key], value, where)
        elif key in SCALARS:
            tree[key] = _fitting(key, value, *SCALARS[key], where)
        elif about is not None and key in ABOUT:
            about[key] = plain(value)
        elif about is not None and key == "about" and isinstance(value, Mapping):
            about.update(plain(value))
        else:
            raise MdmkitError(f"{where}: {unknown('key', str(key), KEYS)}")


def _merge_section(key: str, old: Mapping[str, Any], new: Any, where: str) -> dict[str, Any]:
    """Read a section's settings: a mapping, which changes the old ones, or the section itself, which replaces them."""
    if dataclasses.is_dataclass(new) and not isinstance(new, type):
        return dataclasses.asdict(new)
    if not isinstance(new, Mapping):
        raise MdmkitError(f"{where}: {key} must be a mapping, such as {key}: {{{_example(key)}}}, not {new!r}.")
    return {**old, **new}


def _fitting(key: str, value: Any, hint: Any, said: str, where: str) -> Any:
    """The value as what `hint` names; `said` says it to people."""
    try:
        return fit(value, hint)
    except TypeError:
        raise MdmkitError(f"{where}: {key} must be {said}, not {value!r}.") from None


def _merge_cache(old: Mapping[str, Any], new: Any, where: str) -> dict[str, Any]:
    """Read a cache's node: a name, or a mapping. A new name drops the settings of the old one."""
    if not isinstance(new, Mapping):
        new = {"name": new}
    for key, value in new.items():
        if key not in CACHE_KEYS:
            raise MdmkitError(f"{where}: {unknown('key', f'cache.{key}', [f'cache.{known}' for known in CACHE_KEYS])}")
        new = {**new, key: _fitting(f"cache.{key}", value, *CACHE_KEYS[key], where)}
    return {**new} if new.get("name", old["name"]) != old["name"] else {**old, **new}


def _example(section: str) -> str:
    return {"plan": "length: 64", "draw": "temperature: 0.7", "guidance": "scale: 2.0"}[section]


def _merge_stage(kind: str, old: Any, new: Any, where: str) -> Any:
    if isinstance(new, str):
        return {"name": new}
    if isinstance(new, type):
        raise MdmkitError(f"{where}: {kind} is the class {new.__name__}: give an instance of it, {new.__name__}(…).")
    if new is None or (dataclasses.is_dataclass(new) and (callable(new) or kind in NOT_CALLED)):
        return new
    if not isinstance(new, Mapping):
        raise MdmkitError(
            f"{where}: {kind} must be a name, a mapping with `name` and parameters, null, or in Python a callable "
            f"dataclass instance, not {new!r}."
        )
    name = new.get("name")
    if "name" in new and not isinstance(name, str):
        raise MdmkitError(f"{where}: {kind}.name must be a text, not {name!r}.")
    if name is not None and not (isinstance(old, Mapping) and old["name"] == name):
        return dict(new)
    if not isinstance(old, Mapping):
        if old is None and kind == "commit":
            return {"name": "write", **new}
        raise MdmkitError(
            f"{where}: {kind} has parameters ({', '.join(map(str, new)) or 'none'}) but no name, and there is no "
            f"{kind} to change. Add {kind}.name."
        )
    return {**old, **new}


def _finish(
    preset: str | None, tree: dict[str, Any], about: dict[str, Any], parts: dict[str, Part], registry: Registry
) -> Resolved:
    config: dict[str, Any] = {"sampler": preset} if preset is not None else {}
    if about:
        config["about"] = about
    given = {}
    for kind in STAGES:
        node = tree[kind]
        if node is None and kind == "commit":
            node = {"name": "write"}
        if node is None:
            if kind in ("score", "select"):
                raise MdmkitError(_lacking(kind, registry))
            config[kind] = None
        elif isinstance(node, Mapping):
            part = parts[kind] = registry.find(kind, node["name"])
            values = {key: value for key, value in node.items() if key != "name"}
            config[kind] = {"name": node["name"], **_complete(read(part.target), values, f"{kind} {part.name!r}", kind)}
        else:
            given[kind] = node
            part = parts[kind] = part_of(kind, node, registry)
            config[kind] = {"name": part.name, **parameters(node)}
    config["plan"] = parameters(build(Plan, tree["plan"], "plan", "plan"))
    config["draw"] = _complete(read("mdmkit.settings.draw:Draw"), tree["draw"], "draw", "draw")
    config["guidance"] = _complete(read("mdmkit.settings.draw:Guidance"), tree["guidance"], "guidance", "guidance")
    cache = {key: value for key, value in tree["cache"].items() if value is not None}
    config["cache"] = cache["name"] if len(cache) == 1 else cache
    config |= {key: tree[key] for key in SCALARS}
    config["parts"] = {k: {"distribution": p.distribution, "version": p.version} for k, p in parts.items()}
    return Resolved(config, parts, given)


def _complete(schema: Schema | None, values: Mapping[str, Any], label: str, key: str) -> dict[str, Any]:
    """Check the parameters that the source shows. Composing checks the others."""
    return plain(values if schema is None else schema.complete(values, label, key))


def _lacking(kind: str, registry: Registry) -> str:
    names = {what: ", ".join(part.name for part in registry.of_kind(what)) or "none" for what in (kind, "sampler")}
    return (
        f"no {kind}: a sampler needs a score and a select. Name one with {kind}=NAME (installed: {names[kind]}), "
        f"or start from a preset (installed: {names['sampler']})."
    )


def part_of(kind: str, stage: Any, registry: Registry) -> Part:
    """The registered part of an instance; without one, a part of the distribution `python:MODULE`."""
    cls = type(stage)
    for part in registry.of_kind(kind):
        if part.target is cls or part.target == f"{cls.__module__}:{cls.__qualname__}":
            return part
    return Part(kind, cls.__qualname__, cls, "", f"python:{cls.__module__}", "unknown")
