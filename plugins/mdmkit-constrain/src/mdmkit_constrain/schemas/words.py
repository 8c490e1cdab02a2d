"""The words of JSON schemas: which are read, which say nothing about a value, and what to write in place of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPES = ("string", "integer", "number", "boolean", "null", "object", "array")

# Notes for people and programs.
_NOTES = "title description default examples deprecated readOnly writeOnly contentMediaType contentEncoding"
ANNOTATIONS = frozenset((*_NOTES.split(), "$schema", "$id", "$comment", "$defs", "definitions"))

_SCHEMA, _SCHEMAS = ((Mapping, bool), "a schema"), ((list,), "a list of schemas")
_COUNT, _NUMBER = ((int,), "a whole number from 0 on"), ((int, float), "a number")
# Each word that is read, with the Python types of its value, and what errors call it.
KNOWN: dict[str, tuple[tuple[type, ...], str]] = {
    "type": ((str, list), "a type, or a list of types"),
    "enum": ((list,), "a list of values"),
    "const": ((object, bool), "a value"),
    "$ref": ((str,), "the name of a schema in this one, such as '#/$defs/NAME'"),
    **dict.fromkeys(("anyOf", "oneOf", "allOf"), _SCHEMAS),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _COUNT),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _NUMBER),
    "pattern": ((str,), "a regular expression"),
    "format": ((str,), "the name of a format"),
    "properties": ((Mapping,), "an object of schemas"),
    "required": ((list,), "a list of names"),
    "additionalProperties": _SCHEMA,
    "items": _SCHEMA,
    "prefixItems": _SCHEMAS,
}

_ONE = "write the schemas that it leads to one by one, under anyOf"
# Words of the standard that are not read, and what to write.
INSTEAD = {
    "not": "say what a value is, and not what it is not",
    **dict.fromkeys(("if", "then", "else", "dependentSchemas", "dependentRequired", "dependencies"), _ONE),
    **dict.fromkeys(("$dynamicRef", "$anchor", "$dynamicAnchor", "$recursiveRef"), "write '$ref': '#/$defs/NAME'"),
    "patternProperties": "name the properties under properties",
    "propertyNames": "name the properties under properties",
    **dict.fromkeys(("minProperties", "maxProperties"), "say by required which properties there are"),
    **dict.fromkeys(
        ("unevaluatedProperties", "unevaluatedItems"), "say by properties, prefixItems or items what there is"
    ),
    **dict.fromkeys(("contains", "minContains", "maxContains"), "say by prefixItems which items there are"),
    "uniqueItems": "leave it out, or list the arrays that you mean under enum",
    "additionalItems": "write items for the items after prefixItems",
    "multipleOf": "list the numbers that you mean under enum",
}

# By which words a schema without a type shows of which it is.
_HINTS = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}


def types_of(words: Mapping[str, Any]) -> tuple[Any, ...]:
    """The types that a schema names, or that its words are about; the texts of others are not written."""
    if "type" in words:
        given = words["type"]
        return tuple(given) if isinstance(given, list) else (given,)
    return tuple(kind for kind, hints in _HINTS.items() if any(word in words for word in hints))
