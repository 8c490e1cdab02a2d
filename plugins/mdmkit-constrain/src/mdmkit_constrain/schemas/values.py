"""A JSON schema as a pattern of the texts of its values.

The texts are some of those that the schema allows: properties come in the order of the schema, no others stand beside
them, and the only white space is one space, or none, after a comma or a colon.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from mdmkit import MdmkitError, shown, unknown
from mdmkit_constrain.schemas import kinds, members, texts
from mdmkit_constrain.schemas.bounds import numeric
from mdmkit_constrain.schemas.disjoint import found, overlap
from mdmkit_constrain.schemas.words import ANNOTATIONS, INSTEAD, KNOWN, TYPES, types_of

# Words that say alone what the values are.
_ALONE = ("$ref", "enum", "const", "anyOf", "oneOf", "allOf")
_SCALARS = ("string", "number", "boolean", "null")
# Schemas that one may unfold to, with all that it refers to. A pattern of more would take minutes.
MOST = 2_000


def pattern_of(schema: Any, depth: int) -> str:
    """Return the pattern of a schema's values.

    Args:
        depth: how often a schema may stand in itself, and how many levels a value has of which nothing is said.

    Raises:
        MdmkitError: the schema holds something that is not supported, or no value fits it.
    """
    pattern = Place(schema, depth).value(schema)
    if pattern is None:
        raise MdmkitError(
            f"no value of depth {depth} fits constraint.schema. Change the schema, or set constraint.depth higher."
        )
    return pattern


@dataclass(frozen=True)
class Place:
    """A place in a schema. Its methods return patterns, or None where no value fits.

    Attributes:
        root: the whole schema.
        depth: how many more levels a value may have of which nothing is said.
        path: as errors name the place.
        refs: the references that lead here.
        counter: counts the schemas that are read.
    """

    root: Any
    depth: int
    path: str = "constraint.schema"
    refs: tuple[str, ...] = ()
    counter: Iterator[int] = field(default_factory=count)

    def at(self, *names: str | int) -> Place:
        return replace(self, path=".".join((self.path, *map(str, names))))

    def value(self, schema: Any) -> str | None:
        """The values of a schema."""
        if next(self.counter) == MOST:
            raise MdmkitError(
                f"constraint.schema unfolds to more than {MOST} schemas: refer less, or set constraint.depth lower."
            )
        if schema is False:
            return None
        if schema is not True and not isinstance(schema, Mapping):
            raise MdmkitError(f"{self.path} is {shown(schema)}: a schema is an object, true or false.")
        if schema is not True and schema is not self.root and "$id" in schema:
            raise MdmkitError(f"{self.path} has a '$id' of its own, which is not supported: leave it out.")
        words = {} if schema is True else {name: each for name, each in schema.items() if name not in ANNOTATIONS}
        self._check(words)
        for name in _ALONE:
            if name in words:
                return self._alone(name, words)
        types = types_of(words)
        return members.either(self._typed(kind, words) for kind in types) if types else self._any()

    def _check(self, words: Mapping[str, Any]) -> None:
        for name, value in words.items():
            if name == "uniqueItems" and value is False:
                continue
            if name in INSTEAD:
                raise MdmkitError(f"{self.path} has {name!r}, which is not supported: {INSTEAD[name]}.")
            if name not in KNOWN:
                raise MdmkitError(unknown(f"word at {self.path}:", str(name), KNOWN, known_as="Supported"))
            accepted, said = KNOWN[name]
            if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
                raise MdmkitError(f"{self.path}.{name} is {shown(value)}, and must be {said}.")
        if words.get("type") == []:
            raise MdmkitError(f"{self.path}.type is [], and must be {KNOWN['type'][1]}.")
        for kind in types_of(words):
            if kind not in TYPES:
                raise MdmkitError(unknown(f"type at {self.path}:", str(kind), TYPES, known_as="Types"))

    # -- words that stand alone ----------------------------------------------------------------------------------------

    def _alone(self, name: str, words: Mapping[str, Any]) -> str | None:
        beside = next((each for each in words if each not in (name, *("type",) * (name in ("enum", "const")))), None)
        if beside is not None:
            raise MdmkitError(f"{self.path} has {beside!r} beside {name!r}, which is not supported: write one schema.")
        value, here = words[name], self.at(name)
        if name == "$ref":
            return self._reference(value)
        if name in ("enum", "const"):
            listed = value if name == "enum" else [value]
            return members.either(texts.fixed(each) for each in listed if _is_of(each, types_of(words)))
        if not value:
            raise MdmkitError(f"{here.path} is empty: give at least one schema.")
        if name == "allOf" and len(value) > 1:
            raise MdmkitError(f"{here.path} has several schemas, which is not supported: write them as one.")
        if name == "oneOf" and (pair := overlap(value, self.root)) is not None:
            raise MdmkitError(
                f"{here.path}: a value may fit schema {pair[0]} and schema {pair[1]} (counted from 0). Give each "
                "another type, or a required property with another const, or write anyOf."
            )
        return members.either(here.at(i).value(each) for i, each in enumerate(value))

    def _reference(self, ref: str) -> str | None:
        if self.refs.count(ref) > self.depth:
            return None
        target = found(self.root, ref)
        if target is None:
            raise MdmkitError(
                f"{self.path}.$ref is {ref!r}, and nothing in the schema has this name. Write '#/$defs/NAME'."
            )
        return replace(self, refs=(*self.refs, ref), path=f"constraint.schema({ref})").value(target)

    def _any(self) -> str | None:
        """Any value, some levels deep."""
        types = (*_SCALARS, "object", "array") if self.depth else _SCALARS
        return members.either(self._typed(kind, {}) for kind in types)

    def _typed(self, kind: str, words: Mapping[str, Any]) -> str | None:
        """The values of one type."""
        if kind == "null":
            return "null"
        if kind == "boolean":
            return "(?:true|false)"
        if kind in ("integer", "number"):
            return numeric(words, kind == "integer", self.path)
        if kind == "string":
            return kinds.string(words, self.path)
        return (kinds.object_ if kind == "object" else kinds.array)(words, self.path, self._below)

    def _below(self, schema: Any, *names: str | int) -> str | None:
        """The values of a schema that stands within a value."""
        says_nothing = schema is True or (isinstance(schema, Mapping) and not set(schema) - ANNOTATIONS)
        deeper = replace(self, depth=self.depth - 1) if says_nothing and self.depth else self
        return deeper.at(*names).value(schema)


def _is_of(value: Any, types: tuple[Any, ...]) -> bool:
    """True if a value has one of these types; without any, all do."""
    own = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", type(None): "null"}
    mine = own.get(type(value), "object")
    if isinstance(value, float) and value.is_integer():
        mine = "integer"
    return not types or mine in types or (mine == "integer" and "number" in types)
