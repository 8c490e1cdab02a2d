"""Automata of patterns that are taken from disk if they were made before."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

from mdmkit_constrain.automaton import Automaton
from mdmkit_constrain.kept import disk


def automaton_of(pattern: str, make: Callable[[str], Automaton]) -> Automaton:
    """Return the automaton of a pattern from disk, or else what `make` makes."""
    # Python and the library read the pattern.
    key = disk.key_of([b"pattern", sys.version.encode(), version("interegular").encode(), json.dumps(pattern).encode()])
    found = disk.read(key)
    if found is not None and (known := _automaton(found)) is not None:
        return known
    made = make(pattern)
    disk.write(key, {"moves": made.moves, "final": made.final})
    return made


def _automaton(found: disk.Arrays) -> Automaton | None:
    if set(found) != {"moves", "final"}:
        return None
    moves, final = found["moves"], found["final"]
    count = len(final)
    alike = moves.dtype == np.int32 and final.dtype == np.bool_ and moves.shape == (count, 256) and final.ndim == 1
    return Automaton(moves, final) if alike and count and disk.within(moves, count) else None
