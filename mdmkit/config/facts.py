"""What a preset needs and does, read off its configuration and the source of its parts: nothing heavy is imported."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdmkit.config.resolution import ABOUT, STAGES, Resolved, resolve
from mdmkit.config.schema import build
from mdmkit.errors import MdmkitError
from mdmkit.installed.target import source_file

if TYPE_CHECKING:
    from mdmkit.installed.part import Part
    from mdmkit.installed.registry import Registry


@dataclass(frozen=True)
class Facts:
    """One preset.

    Attributes:
        forwards: row-forwards that a step costs a row, least and most; None where nothing says.
        cache: the cache that it asks for; `auto` is any model's own.
        modality: what it is for; `any` where the preset does not say.
        deterministic: whether every seed gives the same; None where nothing says.
        about: what the preset says of itself, by the keys of `mdmkit.config.resolution.ABOUT`.
        problem: why it cannot be composed here, None where it can.
    """

    part: Part
    forwards: tuple[int, int] | None
    cache: str | None
    modality: str
    deterministic: bool | None
    about: Mapping[str, Any]
    problem: str | None = None


def facts(part: Part, registry: Registry) -> Facts:
    """Gather what is known of a preset; one that cannot be composed is told of, not refused."""
    try:
        found = resolve(f"{part.distribution}:{part.name}", registry=registry)
    except MdmkitError as error:
        return Facts(part, None, None, "any", None, {}, str(error))
    about = {key: found.config.get("about", {}).get(key) for key in ABOUT}
    cache, said = found.config["cache"], about["deterministic"]
    return Facts(
        part,
        _declared(about["forwards"]) or _forwards(found),
        cache if isinstance(cache, str) else cache["name"],
        str(about["modality"] or "any"),
        said if isinstance(said, bool) else _deterministic(found),
        about,
    )


def _declared(forwards: Any) -> tuple[int, int] | None:
    """A preset's own `forwards`: a number, or the least and the most."""
    ends = forwards if isinstance(forwards, list) else [forwards, forwards]
    return (ends[0], ends[1]) if len(ends) == 2 and all(type(end) is int for end in ends) else None


def _forwards(found: Resolved) -> tuple[int, int] | None:
    """A row's states in a step times its particles, as the loop runs them."""
    alternatives: Any = 1
    if found.config["lookahead"] is not None or found.config["search"] is not None:
        alternatives = _trait(found, "select", "alternatives", 1)
    particles = _trait(found, "search", "particles", None) if found.config["search"] is not None else 1
    rewrites = _trait(found, "commit", "rewrites", False)
    if type(alternatives) is not int or type(particles) is not int or rewrites is None:
        return None
    # What a rewriting commit leaves is forwarded once more, where the look was not for it.
    most = alternatives + (bool(rewrites) and alternatives > 1)
    times = particles * (1 if found.config["guidance"]["scale"] == 1 else 2)
    return times, times * most


def _deterministic(found: Resolved) -> bool | None:
    """Whether nothing is drawn: tokens at temperature 0, and no part that reads noise."""
    if found.config["draw"]["temperature"] or found.config["draw"]["temperature_end"]:
        return False
    for kind in STAGES:
        node = found.config[kind]
        if node is None:
            continue
        tree = _source(found.parts[kind].target)
        if tree is None:
            return None
        own = _class(tree, found.parts[kind].target)
        shared = [node for node in tree.body if not isinstance(node, ast.ClassDef | ast.Import | ast.ImportFrom)]
        names = {getattr(n, "attr", getattr(n, "id", "")) for top in (own, *shared) if top for n in ast.walk(top)}
        # The field's convention: what has a temperature draws nothing at 0.
        if "noise" in names and node.get("temperature") != 0:
            return False
    return True


def _trait(found: Resolved, kind: str, name: str, default: Any) -> Any:
    """A part's attribute: a parameter, a constant of the class, or a property that returns one; None if unclear."""
    values = {key: value for key, value in found.config[kind].items() if key != "name"}
    if name in values:
        return values[name]
    target = found.parts[kind].target
    if not isinstance(target, str):
        stage = found.given.get(kind) or build(target, values, kind, kind)
        return getattr(stage, name, default)
    tree = _source(target)
    own = _class(tree, target) if tree else None
    if own is None:
        return None
    for node in own.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return _returned(node, values)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            value = getattr(node, "value", None)
            return value.value if isinstance(value, ast.Constant) else None
    return None if own.bases else default


def _returned(node: ast.FunctionDef, values: Mapping[str, Any]) -> Any:
    """What a property gives if it returns a constant or a parameter of its own; None for anything else."""
    last = node.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    if isinstance(value, ast.Constant):
        return value.value
    own = isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id == "self"
    return values.get(value.attr) if own and len(node.body) == 1 else None  # type: ignore[union-attr]


def _source(target: Any) -> ast.Module | None:
    path = source_file(target.partition(":")[0] if isinstance(target, str) else target.__module__)
    try:
        return ast.parse(path.read_text(encoding="utf-8")) if path else None
    except (OSError, SyntaxError, ValueError):
        return None


def _class(tree: ast.Module, target: Any) -> ast.ClassDef | None:
    name = target.partition(":")[2] if isinstance(target, str) else target.__name__
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
