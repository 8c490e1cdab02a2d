"""`mdmkit.json`: settings of a model directory for its own use.

    {"length": 32, "samples": ["EVQL"], "forbidden": [24], "plain": true}

All keys are optional. `length` is the number of masks after a prompt that holds none, if neither the prompt nor the
plan sets it. `samples` are example prompts. `forbidden` are further token ids that may never be chosen. `plain` is true
for a small Llama decoder that mdmkit computes without transformers, so that it starts sooner: with full attention, no
biases and unscaled positions. `zoo:puzzles` is such a model.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError, unknown
from mdmkit_text.jsonfile import read_object

if TYPE_CHECKING:
    from pathlib import Path

NAME = "mdmkit.json"


@dataclass(frozen=True)
class Manifest:
    length: int | None = None
    samples: tuple[str, ...] = ()
    forbidden: tuple[int, ...] = ()
    plain: bool = False


def read_manifest(folder: Path) -> Manifest:
    """Read a directory's `mdmkit.json`; without one, nothing is set.

    Raises:
        MdmkitError: the file is not a JSON object, or has an unknown key or a value of the wrong kind.
    """
    path = folder / NAME
    if not path.is_file():
        return Manifest()
    content = read_object(path)
    known = [field.name for field in fields(Manifest)]
    for key in content:
        if key not in known:
            raise MdmkitError(f"{path}: {unknown('key', key, known)}")
    length, samples, forbidden, plain = (content.get(key) for key in known)
    if length is not None and (not _is_int(length) or length < 1):
        raise MdmkitError(f"{path}: length is {length!r}, but must be a whole number of tokens, at least 1.")
    if samples is not None and not (isinstance(samples, list) and all(isinstance(s, str) for s in samples)):
        raise MdmkitError(f"{path}: samples is {samples!r}, but must be a list of texts.")
    if forbidden is not None and not (isinstance(forbidden, list) and all(_is_int(i) and i >= 0 for i in forbidden)):
        raise MdmkitError(f"{path}: forbidden is {forbidden!r}, but must be a list of token ids.")
    if plain is not None and not isinstance(plain, bool):
        raise MdmkitError(f"{path}: plain is {plain!r}, but must be true or false.")
    return Manifest(length, tuple(samples or ()), tuple(forbidden or ()), bool(plain))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
