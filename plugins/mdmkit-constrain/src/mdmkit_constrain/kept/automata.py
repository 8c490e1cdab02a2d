"""Automata of patterns and grammars that are taken from disk if they were made before."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from mdmkit_constrain.automaton import Automaton
from mdmkit_constrain.kept import disk

# A pattern; or a grammar, its first rule and depth.
Wanted = str | list[Any]


def automaton_of(wanted: Wanted, reader: str, make: Callable[[Wanted], Automaton]) -> Automaton:
    """Return the automaton of a pattern or grammar from disk, or else what `make` makes.

    Args:
        reader: the library that reads it.
    """
    versions = f"{sys.version} {version('interegular')} {reader} {version(reader)}"
    key = disk.key_of([b"automaton", versions.encode(), json.dumps(wanted).encode()])
    found = disk.read(key)
    if found is not None and (known := _automaton(found)) is not None:
        return known
    made = make(wanted)
    disk.write(key, {"moves": made.moves, "final": made.final})
    return made


def _automaton(found: disk.Arrays) -> Automaton | None:
    if set(found) != {"moves", "final"}:
        return None
    moves, final = found["moves"], found["final"]
    count = len(final)
    alike = moves.dtype == np.int32 and final.dtype == np.bool_ and moves.shape == (count, 256) and final.ndim == 1
    return Automaton(moves, final) if alike and count and disk.within(moves, count) else None
