"""The backbone `zoo`: models that come with the toolkit, by name."""

from __future__ import annotations

from typing import Any, NoReturn

import mdmkit
from mdmkit.errors import MdmkitError, unknown
from mdmkit.model import Backbone
from mdmkit_zoo.catalogue import ENTRIES


def _not_a_model(*args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError("Zoo only loads: use what Zoo.load returns")


class Zoo(Backbone):
    """Loads a model of the zoo; what it returns is the backbone that reads the model's directory, never a `Zoo`."""

    @classmethod
    def load(cls, ref: str, *, device: str = "auto", dtype: str = "auto", **options: Any) -> Backbone:
        """Load `puzzles`, `antibody` or `bigram`; device, dtype and options as `mdmkit.load` takes them.

        Raises:
            MdmkitError: no model has that name, or this installation lacks its files.
        """
        if ref not in ENTRIES:
            raise MdmkitError(unknown("model of the zoo", ref, ENTRIES))
        entry = ENTRIES[ref]
        if not entry.megabytes:
            raise MdmkitError(
                f"zoo:{ref} is not in this installation: {entry.folder} holds no model. Make it with "
                f"`{entry.made_by} --output {entry.folder}`, or install mdmkit-zoo from a wheel."
            )
        if ref == "bigram":
            from mdmkit_zoo.bigram.backbone import Bigram

            return Bigram.load(str(entry.folder), device=_settled(device), dtype=dtype, **options)
        return mdmkit.load(str(entry.folder), device=device, dtype=dtype, **options)

    encode: Any = _not_a_model
    forward: Any = _not_a_model
    project: Any = _not_a_model
    decode: Any = _not_a_model


def _settled(device: str) -> str:
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
