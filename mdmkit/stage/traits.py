"""Read the traits of a part: constants of its class that the loop reads, with their defaults."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from mdmkit.errors import MdmkitError
from mdmkit.stage.protocols import Commit, Constraint, Lookahead, Score, Select, Stop
from mdmkit.stage.search import Search

HOMES: dict[str, type] = {
    "score": Score,
    "select": Select,
    "lookahead": Lookahead,
    "commit": Commit,
    "search": Search,
    "stop": Stop,
    "constraint": Constraint,
}
# A public constant of one of these types must be a trait. A trait's value must have the type of its default: otherwise
# `rewrites = "no"` would be true.
_PLAIN = (bool, int, str, tuple)


def known(kind: str) -> dict[str, Any]:
    """The traits that a part of this kind may have, with their defaults."""
    home = HOMES[kind]
    return {name: vars(home)[name] for name in vars(home).get("__annotations__", {}) if name in vars(home)}


def trait(kind: str, part: Any, name: str) -> Any:
    """The value of a part's trait, or its default."""
    return getattr(part, name, known(kind)[name])


def check_traits(kind: str, part: Any) -> None:
    """Refuse public constants that nothing reads, and traits of the wrong type.

    Raises:
        MdmkitError: names the constant, the nearest trait and all of them.
    """
    cls, traits = type(part), known(kind)
    fields = {field.name for field in dataclasses.fields(part)} if dataclasses.is_dataclass(part) else set()
    for owner in cls.__mro__[:-1]:
        if owner in HOMES.values():
            break
        for name, value in vars(owner).items():
            if name.startswith("_") or name in fields or name in traits or not isinstance(value, _PLAIN):
                continue
            near = difflib.get_close_matches(name, traits, n=1, cutoff=0.6)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise MdmkitError(
                f"{kind} {cls.__name__} has the constant {name!r}, which nothing reads.{guess} The traits of a {kind} "
                f"are {', '.join(sorted(traits))}. Make it a parameter with a type, or begin its name with an "
                "underscore."
            )
    for name, default in traits.items():
        value = getattr(part, name, default)
        fits = isinstance(value, bool) if isinstance(default, bool) else isinstance(value, type(default))
        if not fits or (isinstance(value, bool) and not isinstance(default, bool)):
            raise MdmkitError(
                f"{kind} {cls.__name__}.{name} is {value!r}: it must be of type {type(default).__name__}, like the "
                f"default {default!r}."
            )
