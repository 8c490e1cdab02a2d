"""Read the traits of a part: constants of its class that the loop reads, with their defaults."""

from __future__ import annotations

import functools
import typing
from typing import Any, Literal

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
# The smallest value of each trait that is a number.
LEAST = {"alternatives": 1, "particles": 1, "lingers": 0}
# Traits of a commit that have an effect only if it also `rewrites`.
NEED_REWRITES = ("only_reopens", "lingers", "grows")


@functools.cache
def known(kind: str) -> dict[str, Any]:
    """The traits that a part of this kind may have, with their defaults."""
    home = HOMES[kind]
    return {name: vars(home)[name] for name in vars(home).get("__annotations__", {}) if name in vars(home)}


@functools.cache
def values(kind: str, name: str) -> tuple[Any, ...]:
    """The values that a trait may have, if its annotation lists them; else ()."""
    (hint,) = typing.get_args(typing.get_type_hints(HOMES[kind])[name])  # ClassVar[hint]
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def trait(kind: str, part: Any, name: str) -> Any:
    """The value of a part's trait, or its default.

    Args:
        kind: `score`, `select`, `lookahead`, `commit`, `search`, `stop` or `constraint`.
        part: the part; None, as for a sampler without a search, has the defaults.
        name: the trait, such as `rewrites`.

    Raises:
        KeyError: parts of this kind have no such trait.
    """
    return getattr(part, name, known(kind)[name])
