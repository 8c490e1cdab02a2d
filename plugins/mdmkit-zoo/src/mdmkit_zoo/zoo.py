"""The backbone `zoo`: models that are included, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mdmkit
from mdmkit import MdmkitError, unknown
from mdmkit_zoo.catalogue import ENTRIES

if TYPE_CHECKING:
    from mdmkit import Backbone


class Zoo:
    """Load a model of the zoo: `load` returns the backbone for the model's directory."""

    @classmethod
    def accepts(cls, ref: str) -> bool:
        """False: a model of the zoo is always named `zoo:NAME`."""
        return False

    @classmethod
    def load(cls, ref: str, *, device: str = "auto", dtype: str = "auto", **options: Any) -> Backbone:
        """Load a model by its name; device, dtype and options as `mdmkit.load` takes them. `digits` needs mdmkit-image.

        Raises:
            MdmkitError: no model has this name, or this installation lacks its files.
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


def _settled(device: str) -> str:
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
