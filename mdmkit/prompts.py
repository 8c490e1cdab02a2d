"""What a user may write as a prompt, read into `Prompt`s: texts, token ids, mappings with a row's own options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from mdmkit.canvas import Prompt
from mdmkit.errors import MdmkitError, unknown
from mdmkit.noise import row_seed
from mdmkit.plan import LONGEST

PromptLike = str | Sequence[int] | Mapping[str, Any] | Prompt
KEYS = ("prompt", "prompt_ids", "seed", "length", "infill")


def read_prompts(prompts: Iterable[PromptLike], seed: int) -> list[Prompt]:
    """Turn what the user wrote into prompts, each with its seed."""
    return list(each_prompt(prompts, seed))


def each_prompt(prompts: Iterable[PromptLike], seed: int) -> Iterator[Prompt]:
    """Turn what the user wrote into prompts one by one, as they are asked for."""
    if isinstance(prompts, str | Mapping | Prompt) or not isinstance(prompts, Iterable):
        raise MdmkitError(f"prompts is a list of prompts, not {prompts!r}: wrap a single prompt in [ ].")
    if not isinstance(seed, int):
        raise MdmkitError(f"seed is a whole number, not {seed!r}.")
    return (as_prompt(prompt, index, seed) for index, prompt in enumerate(prompts))


def as_prompt(given: PromptLike, index: int, seed: int) -> Prompt:
    """Read one prompt as number `index` of a run seeded `seed`."""
    own = row_seed(seed, index)
    if isinstance(given, Prompt):
        told: dict[str, Any] = {"seed": given.seed, "infill": given.infill}
        told |= {"prompt": given.text} if given.ids is None else {"prompt_ids": given.ids}
        return _from_mapping(told if given.length is None else told | {"length": given.length}, index, own)
    if isinstance(given, str):
        return Prompt(text=given, seed=own, index=index)
    if isinstance(given, Mapping):
        return _from_mapping(given, index, own)
    return Prompt(ids=_ids(given, index), seed=own, index=index)


def _from_mapping(given: Mapping[str, Any], index: int, own: int) -> Prompt:
    for key in given:
        if key not in KEYS:
            raise MdmkitError(f"prompt {index}: {unknown('key', str(key), KEYS)}")
    if ("prompt" in given) == ("prompt_ids" in given):
        raise MdmkitError(f"prompt {index}: give either 'prompt' (a text) or 'prompt_ids' (a list of token ids).")
    for key, kind in (("prompt", str), ("seed", int), ("length", int), ("infill", bool)):
        if key in given and (not isinstance(given[key], kind) or (kind is int and isinstance(given[key], bool))):
            raise MdmkitError(f"prompt {index}: {key!r} must be {kind.__name__}, not {given[key]!r}.")
    if not 0 <= given.get("length", 0) <= LONGEST:
        raise MdmkitError(
            f"prompt {index}: 'length' is the number of masks to append, 0 to {LONGEST}, not {given['length']}."
        )
    if not -(1 << 63) <= given.get("seed", 0) < 1 << 63:
        raise MdmkitError(f"prompt {index}: 'seed' must fit in 64 bits, and {given['seed']} does not.")
    return Prompt(
        text=given.get("prompt"),
        ids=_ids(given["prompt_ids"], index) if "prompt_ids" in given else None,
        seed=given.get("seed", own),
        length=given.get("length"),
        infill=given.get("infill", True),
        index=index,
    )


def _ids(given: Any, index: int) -> tuple[int, ...]:
    if isinstance(given, torch.Tensor):
        given = given.tolist()
    if not isinstance(given, Sequence) or not all(isinstance(i, int) and not isinstance(i, bool) for i in given):
        raise MdmkitError(f"prompt {index}: token ids are a list of whole numbers, not {given!r}.")
    return tuple(given)
