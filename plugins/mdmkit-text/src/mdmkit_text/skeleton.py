"""A class of transformers built without its weights: only the names and shapes of its tensors."""

from __future__ import annotations

from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

from mdmkit import MdmkitError
from mdmkit_text.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


def skeleton(native: Any, config: Any, tensors: int) -> nn.Module:
    """Build a model on the device `meta`, where nothing is allocated.

    Args:
        native, config: transformers' model class and its config object.
        tensors: how many tensors the checkpoint holds. A model of far more is given up while it is built.

    Raises:
        MdmkitError: the class refuses the config, or the model has far more parameters than the checkpoint tensors.
    """
    try:
        with quiet(), torch.device("meta"), _at_most(8 * tensors + 1000, tensors):
            return native._from_config(config, attn_implementation=attention(native))
    except MdmkitError:
        raise
    except Exception as error:  # each class checks its config in its own way
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, KeyError):  # a name that is in none of its tables, such as that of an activation
            fields = [name for name, value in config.to_dict().items() if value in error.args]
            reason = f"it does not know {reason}{f' ({fields[0]} in config.json)' if fields else ''}"
        raise MdmkitError(f"transformers could not build the model: {reason}") from error


def attention(native: Any) -> str:
    """The attention kernel that mdmkit asks a class for, whatever its config says."""
    return "sdpa" if getattr(native, "_supports_sdpa", False) else "eager"


@contextmanager
def _at_most(most: int, tensors: int) -> Iterator[None]:
    """Give up a model of this thread at its parameter number `most` + 1: a list of a million modules takes minutes.

    A class may split one tensor of a checkpoint into a few parameters, so `most` is well above the number of tensors.
    """
    thread, seen = get_ident(), 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += get_ident() == thread
        if seen > most:
            raise MdmkitError(
                f"its config.json asks for a model of more than {most} parameters, and the weights have {tensors} "
                "tensors. They do not belong together, or a number in config.json is wrong."
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()
