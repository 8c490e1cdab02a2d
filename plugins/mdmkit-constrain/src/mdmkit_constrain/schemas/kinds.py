"""Strings, objects and arrays of a JSON schema as patterns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mdmkit import MdmkitError, shown, unknown
from mdmkit_constrain.schemas import members, texts
from mdmkit_constrain.schemas.bounds import length
from mdmkit_constrain.schemas.strings import inside

Words = Mapping[str, Any]
# The pattern of a schema that stands within a value, under these names; None: no value fits it.
Below = Callable[..., str | None]


def string(words: Words, path: str) -> str | None:
    told = [name for name in ("pattern", "format", "minLength", "maxLength") if name in words]
    if len(told) > 1 and told != ["minLength", "maxLength"]:
        raise MdmkitError(f"{path} has {told[0]} and {told[1]} together, which is not supported: leave out one.")
    if "pattern" in words:
        return texts.quoted(inside(words["pattern"], f"{path}.pattern"))
    if "format" in words:
        if words["format"] not in texts.FORMATS:
            raise MdmkitError(unknown(f"format at {path}:", words["format"], texts.FORMATS, known_as="Supported"))
        return texts.quoted(texts.FORMATS[words["format"]])
    low, high = length(words, "Length", path)
    return None if high is not None and high < low else texts.string(low, high)


def object_(words: Words, path: str, below: Below) -> str | None:
    named, needed = words.get("properties", {}), words.get("required", [])
    more = words.get("additionalProperties", True)
    if not all(isinstance(name, str) for name in needed):
        raise MdmkitError(f"{path}.required is {shown(needed)}, and must be a list of names.")
    schemas = {**named, **{name: more for name in needed if name not in named}}
    if not schemas:
        value = below(more, "additionalProperties")
        free = None if value is None else f"{texts.string()}{texts.COLON}{value}"
        return members.braced("" if free is None else members.repeated(free, 0, None))
    found, size = [], 0
    for name, schema in schemas.items():
        value = below(schema, "properties", name)
        if value is not None:
            found.append((texts.member(name, value), name in needed))
            size += len(found[-1][0])
            members.check_size(size)
        elif name in needed:
            return None
    return members.braced(members.listed(found))


def array(words: Words, path: str, below: Below) -> str | None:
    low, high = length(words, "Items", path)
    first: list[str] = []
    size = 0
    for i, schema in enumerate(words.get("prefixItems", [])):
        value = below(schema, "prefixItems", i)
        if value is None:
            high = i if high is None else min(i, high)
            break
        first.append(value)
        size += len(value)
        members.check_size(size)
    rest = below(words.get("items", True), "items") if high is None or high > len(first) else None
    if rest is None:
        high = len(first) if high is None else min(high, len(first))
    return None if high is not None and high < low else members.bracketed(members.tupled(first, rest, low, high))
