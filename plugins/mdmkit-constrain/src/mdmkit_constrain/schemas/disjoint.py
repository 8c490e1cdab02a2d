"""Which schemas no value fits two of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from mdmkit_constrain.schemas.words import TYPES


def found(root: Any, ref: str) -> Any:
    """What a reference such as `#/$defs/NAME` names in a schema; None: nothing."""
    if not (ref == "#" or ref.startswith("#/")):
        return None
    at = root
    for name in ref[1:].split("/")[1:]:
        name = name.replace("~1", "/").replace("~0", "~")
        if isinstance(at, list) and name.isdecimal() and int(name) < len(at):
            at = at[int(name)]
        elif isinstance(at, Mapping) and name in at:
            at = at[name]
        else:
            return None
    return at


def overlap(schemas: Sequence[Any], root: Any) -> tuple[int, int] | None:
    """The places of two schemas that a value may fit both of; None: each value fits at most one."""
    plain = [_followed(schema, root) for schema in schemas]
    # Where each listed value stands first: there may be thousands, too many to compare each with all others.
    first: dict[str, int] = {}
    values = [_values(schema) if isinstance(schema, Mapping) else None for schema in plain]
    for j, own in enumerate(values):
        for value in own or ():
            if (i := first.setdefault(value, j)) != j:
                return i, j
    pairs = ((i, j) for i, j in combinations(range(len(plain)), 2) if values[i] is None or values[j] is None)
    return next(((i, j) for i, j in pairs if not _apart(plain[i], plain[j], root)), None)


def _followed(schema: Any, root: Any) -> Any:
    """A schema, or the one that it refers to."""
    for _ in range(16):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            return schema
        schema = found(root, schema["$ref"])
    return {}


def _apart(one: Any, other: Any, root: Any) -> bool:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return False
    values = _values(one), _values(other)
    if None not in values:
        return not (values[0] or set()) & (values[1] or set())
    if not _kinds(one) & _kinds(other):
        return True
    if _kinds(one) != {"object"} or _kinds(other) != {"object"}:
        return False
    return any(
        _apart(_followed(one["properties"][name], root), _followed(other["properties"][name], root), root)
        for name in _needed(one) & _needed(other)
    )


def _values(schema: Mapping[str, Any]) -> set[str] | None:
    """The values of a schema that lists them."""
    listed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    return None if listed is None else {json.dumps(_alike(value), sort_keys=True) for value in listed}


def _alike(value: Any) -> Any:
    """A value with 1.0 written as 1, which is the same number."""
    return json.loads(json.dumps(value), parse_float=lambda text: int(x) if (x := float(text)).is_integer() else x)


def _kinds(schema: Mapping[str, Any]) -> set[Any]:
    """The types that a value may have; every whole number is also a number."""
    listed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if listed is not None:
        names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
        return {names.get(type(value), "null") for value in listed}
    if any(word in schema for word in ("anyOf", "oneOf", "allOf")):
        return set(TYPES)
    kinds = set(schema["type"] if isinstance(schema.get("type"), list) else [schema.get("type")])
    return set(TYPES) if kinds == {None} else {"number" if kind == "integer" else kind for kind in kinds}


def _needed(schema: Mapping[str, Any]) -> set[str]:
    """The required properties that have a schema."""
    return set(schema.get("required", ())) & set(schema.get("properties", ()))
