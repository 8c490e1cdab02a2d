"""Refuse a model that holds more numbers than the checkpoint's files, before it is built.

transformers would first make up what is missing, in memory, and report it afterwards.
"""

from __future__ import annotations

import re
from collections import defaultdict
from math import prod
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from torch import nn

_LISTED = 6
# Numbers in the buffers that a class computes itself, such as a table of positions: 2**26 of float32 are 256 MiB.
_COMPUTED = 2**26
# Two bits a weight, packed into int32: the fewest numbers that quantised weights are stored in.
_PACKED = 16


def check_none_lacking(
    model: nn.Module, config: Any, shapes: Mapping[str, tuple[int, ...]], named: AbstractSet[str]
) -> None:
    """Check that the files hold as many numbers as the model.

    transformers may stack, split and rename weights in ways that are not known here, but it never adds a number. So
    parameters that no file names are allowed as long as the other tensors hold as many numbers.

    Args:
        model: the class's skeleton.
        config: transformers' config object.
        shapes: the name and shape of every tensor of the checkpoint.
        named: the names of the model's tensors that are known to be in the files.

    Raises:
        MdmkitError: the model holds more.
    """
    held = sum(map(prod, shapes.values())) * (_PACKED if getattr(config, "quantization_config", None) else 1)
    free = [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_missing", None) or ()]
    found, lacking = 0, {}
    for names, count in _parameters(model):
        if not named.isdisjoint(names):
            found += count
        elif not any(pattern.search(name) for pattern in free for name in names):
            lacking[names[0]] = count
    if lacking and sum(lacking.values()) > held - found:
        raise MdmkitError(_refusal(type(model).__name__, lacking, found, held))
    computed = {name: buffer.numel() for name, buffer in model.named_buffers() if name not in named}
    if sum(computed.values()) > max(_COMPUTED, held):
        largest = max(computed, key=lambda name: computed[name])
        raise MdmkitError(
            f"its config.json asks for a table of {computed[largest]:,} numbers ({largest}), and all its weights hold "
            f"{held:,}. A value in config.json is wrong, such as the length of its rows."
        )


def _parameters(model: nn.Module) -> list[tuple[list[str], int]]:
    """The names of every parameter, several if it is tied, and how many numbers it holds."""
    names: dict[int, list[str]] = defaultdict(list)
    counts: dict[int, int] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
        counts[id(parameter)] = parameter.numel()
    return [(each, counts[key]) for key, each in names.items()]


def _refusal(native: str, lacking: dict[str, int], found: int, held: int) -> str:
    largest = sorted(lacking, key=lambda name: -lacking[name])
    more = f" and {len(largest) - _LISTED} more" if len(largest) > _LISTED else ""
    return (
        f"the weights do not fit {native}, which config.json asks for. missing: {', '.join(largest[:_LISTED])}{more}. "
        f"The model has {found + sum(lacking.values()):,} numbers, and the files hold {held:,}. Check that config.json "
        "and the weights belong together, and that the checkpoint has a language-model head."
    )
