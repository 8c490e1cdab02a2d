"""The class of a model, its config object, and the function that loads its weights."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mdmkit_text.experts import check_experts
from mdmkit_text.families import build_config
from mdmkit_text.families.plain import Plain
from mdmkit_text.sizes import check_layers, check_sizes
from mdmkit_text.weights import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mdmkit_text.families.family import Family


def prepare(
    folder: Path, config: dict[str, Any], family: Family, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Any, Callable[..., Any]]:
    """Return the model's config object, and a function that loads its weights.

    The function takes a dtype, a torch dtype or `"auto"`, and the keywords of `placement`.

    Args:
        folder: the model's directory.
        config: as `read_config` returns it.
        family: the family of the checkpoint.
        shapes: as `read_shapes` returns them.

    Raises:
        MdmkitError: config and weights do not belong together.
    """
    check_layers(config, family, shapes)
    if isinstance(family, Plain):
        from mdmkit_text.plain.weights import load_plain

        sizes = family.settings(config)
        return sizes, lambda dtype, placed: load_plain(folder, sizes, shapes, dtype)
    native, settings = build_config(family, config)
    check_sizes(native, settings, family, shapes)
    check_experts(config, settings)
    return settings, partial(load_model, folder, native, settings, family)
