"""Tables for a model that are taken from disk if they were made before."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from mdmkit_constrain.automaton import Automaton
from mdmkit_constrain.kept import disk
from mdmkit_constrain.tables import Arrows, Tables, tables_of

# The fields of `Tables` that are tensors, and those that are arrows.
_TENSORS = ("class_of", "count", "members", "firsts", "final", "of_end")
_ARROWS = ("moves", "in_groups", "of_classes", "ahead", "back", "around")


@functools.lru_cache(maxsize=16)
def tables_for(
    automaton: Automaton,
    texts: tuple[bytes | None, ...],
    never: tuple[int, ...],
    ends: tuple[int, ...],
    endings: tuple[int, ...],
) -> Tables:
    """Return the tables for a model from disk, or else make them; arguments and errors as for `tables_of`."""
    key = disk.key_of(_parts(automaton, texts, never, ends, endings))
    found = disk.read(key)
    if found is not None and (known := _tables(found, len(texts))) is not None:
        return known
    made = tables_of(automaton, texts, never, ends, endings)
    disk.write(key, _arrays(made))
    return made


def _parts(automaton: Automaton, texts: tuple[bytes | None, ...], *ids: tuple[int, ...]) -> Iterator[bytes]:
    """Everything that tables depend on."""
    yield b"tables"
    for array in (automaton.moves, automaton.final):
        yield array.tobytes()
    for each in ids:
        yield repr(each).encode()
    for text in texts:
        yield b"-" if text is None else b"+" + text


# -- tables as arrays --------------------------------------------------------------------------------------------------


def _arrays(made: Tables) -> disk.Arrays:
    out = {name: getattr(made, name).numpy() for name in _TENSORS}
    out["bounds"] = np.array(made.bounds, dtype=np.int64)
    for name in _ARROWS:
        for each in fields(Arrows):
            own = getattr(getattr(made, name), each.name)
            if own is not None:
                out[f"{name}.{each.name}"] = own.numpy()
    return out


def _tables(found: disk.Arrays, vocab: int) -> Tables | None:
    """The tables of some arrays; None if they do not fit each other, so that a number would point nowhere."""
    try:
        states, classes, groups = len(found["final"]), len(found["count"]), len(found["around.offsets"]) - 1
        sizes = {
            "moves": (states, states, classes),
            "in_groups": (groups, classes, None),
            "of_classes": (classes, groups, None),
            "ahead": (states, states, groups),
            "back": (states, states, groups),
            "around": (groups, states, states),
        }
        fit = _fit(found, states, classes, vocab) and all(_are_arrows(found, name, *sizes[name]) for name in _ARROWS)
    except (KeyError, IndexError):
        return None
    if not fit:
        return None
    with torch.inference_mode(False):
        own = {name: torch.from_numpy(x) for name, x in found.items()}
        given: dict[str, Any] = {name: own[name] for name in _TENSORS}
        for name in _ARROWS:
            ends: dict[str, Any] = {each.name: own.get(f"{name}.{each.name}") for each in fields(Arrows)}
            given[name] = Arrows(**ends)
        return Tables(states=states, classes=classes, bounds=tuple(found["bounds"].tolist()), **given)


def _fit(found: disk.Arrays, states: int, classes: int, vocab: int) -> bool:
    """True if the arrays beside the arrows have their types and shapes, and their numbers are within their bounds."""
    types = {"count": np.float64, "final": np.bool_, "of_end": np.bool_}
    bounds, members = found["bounds"], found["members"]
    return (
        all(found[name].dtype == types.get(name, np.int64) and found[name].ndim == 1 for name in (*_TENSORS, "bounds"))
        and (len(found["class_of"]), len(found["of_end"]), len(found["firsts"])) == (vocab, states, classes)
        and disk.within(found["class_of"], classes + 1)
        and disk.within(members, vocab)
        and disk.within(found["firsts"], max(1, len(members)))
        and _are_offsets(bounds, classes, len(members))
        and bool((np.diff(bounds) == found["count"]).all())
    )


def _are_arrows(found: disk.Arrays, name: str, size: int, first: int, second: int | None) -> bool:
    """True if arrows of `size` values, in order, lead to one of `first` others, and to one of `second` if there are."""
    own = {each.name: found[f"{name}.{each.name}"] for each in fields(Arrows) if f"{name}.{each.name}" in found}
    most = {"first": first, "index": size, **({} if second is None else {"second": second})}
    index, offsets = own["index"], own.pop("offsets")
    return (
        set(own) == set(most)
        and all(own[x].dtype == np.int64 and own[x].shape == (len(index),) for x in most)
        and all(disk.within(own[x], most[x]) for x in most)
        and _are_offsets(offsets, size, len(index))
        and bool((np.repeat(np.arange(size), np.diff(offsets)) == index).all())
    )


def _are_offsets(x: np.ndarray[Any, Any], size: int, total: int) -> bool:
    """True if these are the places where `size` runs of `total` things begin, and where the last one ends."""
    right = x.dtype == np.int64 and x.shape == (size + 1,)
    return right and bool(x[0] == 0 and x[-1] == total and (np.diff(x) >= 0).all())
