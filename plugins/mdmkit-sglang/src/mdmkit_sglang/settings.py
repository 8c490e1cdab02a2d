"""Read m.yaml, the file of `--dllm-algorithm-config`: a configuration of mdmkit. What SGLang cannot run is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import mdmkit
from mdmkit import Engine, MdmkitError, Sampler, shown, trait, unknown
from mdmkit_sglang.model import SglangModel

WHERE = "--dllm-algorithm-config"
# The keys of a configuration of mdmkit, and two more.
CONFIG = ("score", "select", "lookahead", "commit", "search", "stop", "constraint", "plan", "draw", "guidance", "cache")
KEYS = ("sampler", *CONFIG, "seed", "set", "block_size")
INFILL = ("infill", "suffix")


def read_sampler(given: Mapping[str, Any], block: int, mask_id: int) -> Sampler:
    """Compose the sampler that m.yaml describes.

    Args:
        given: the content of m.yaml.
        block: columns of SGLang's blocks.
        mask_id: the id of the model's mask.

    Raises:
        MdmkitError: a key or value is wrong, or SGLang cannot run the sampler.
    """
    try:
        _check_keys(given)
        layer = {key: value for key, value in given.items() if key not in ("set", "block_size")}
        sampler = mdmkit.compose(config=layer, overrides=_overrides(given.get("set")))
        _check_length(sampler, given.get("sampler"))
        _refuse(sampler, block)
        sampler = replace(sampler, plan=replace(sampler.plan, length=None))
        # The engine checks the rest: whether each part can work with this model. End tokens come with the requests.
        Engine(sampler, SglangModel(mask_id, mask_id + 1, block, ends=(0,)), slots=1)
    except MdmkitError as error:
        raise MdmkitError(f"{WHERE}: {error}") from error
    return sampler


def _check_keys(given: Mapping[str, Any]) -> None:
    for key in given:
        if key in INFILL:
            raise MdmkitError(
                f"{key} cannot be set here: SGLang fills masks to the right of a prompt only. For infilling use mdmkit "
                "decode or mdmkit serve."
            )
        if key not in KEYS:
            raise MdmkitError(unknown("key", str(key), KEYS))


def _check_length(sampler: Sampler, preset: str | None) -> None:
    """Refuse a length that is not the preset's own: it would have no effect."""
    usual = None if preset is None else mdmkit.compose(preset).plan.length
    if sampler.plan.length not in (None, usual):
        raise MdmkitError(
            f"plan.length={sampler.plan.length} cannot be set here: the length of an answer is the request's own "
            "(max_tokens, or max_new_tokens in /generate)."
        )


def _overrides(changes: Any) -> list[str]:
    """Turn {"select.candidates": 4} into `KEY=VALUE` strings."""
    if changes is None:
        return []
    if not isinstance(changes, Mapping):
        raise MdmkitError(f"set is a mapping, such as set: {{select.candidates: 4}}, not {shown(changes)}.")
    return [f"{key}={json.dumps(value)}" for key, value in changes.items()]


def _refuse(sampler: Sampler, block: int) -> None:
    """Refuse by name what SGLang's rounds cannot do: each is one forward of the current block of each request."""
    for holds, reason in _reasons(sampler, block):
        if holds:
            raise MdmkitError(f"sampler {sampler.name!r} cannot run inside SGLang: {reason}.")


def _reasons(sampler: Sampler, block: int) -> Iterator[tuple[bool, str]]:
    """Everything for which a sampler is refused: whether it holds, and the reason."""
    yield (
        sampler.search is not None,
        f"search {sampler.search and sampler.name_of('search')!r} decodes several trajectories of a request, and "
        "SGLang keeps one",
    )
    yield (
        sampler.guidance.scale != 1,
        f"guidance.scale={sampler.guidance.scale} needs forwards without the prompt, and SGLang has one prompt for "
        "each request",
    )
    yield (
        sampler.cache not in ("auto", "block"),
        f"cache={sampler.cache}: SGLang stores finished blocks, and nothing else. Leave it out",
    )
    yield (
        trait("commit", sampler.commit, "grows"),
        f"commit {sampler.name_of('commit')!r} adds positions to a row, and SGLang's blocks have a fixed length",
    )
    yield (
        trait("stop", sampler.stop, "fill") == "best",
        f"stop {sampler.stop and sampler.name_of('stop')!r} fills all later blocks at once, and SGLang decodes one "
        "block after another",
    )
    size = sampler.plan.block
    fits = ", ".join(str(n) for n in range(1, block + 1) if block % n == 0)
    yield (
        size is not None and block % size != 0,
        f"plan.block={size} does not divide SGLang's block of {block}, and a block that is finished there is never "
        f"rewritten. Use {fits}, or null",
    )
