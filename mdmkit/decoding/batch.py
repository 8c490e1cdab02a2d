"""How many rows are decoded together: a number, or `auto`, which begins with a number and halves it until it fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdmkit.errors import MdmkitError
from mdmkit.settings.numbers import is_whole

if TYPE_CHECKING:
    from mdmkit.model.backbone import Backbone

AUTO = "auto"
# What `auto` begins with on a GPU: there it costs a few failed steps if that is too many. A CPU gets fewer: it gains
# less from more rows, and the system may end a process that asks for too much memory before an error says so.
ON_GPU, ON_CPU = 64, 8


def chosen_batch(batch: int | str, backbone: Backbone) -> tuple[int, bool]:
    """Return the number of rows that a batch begins with, and whether it is halved as often as needed (`auto`).

    `auto` begins with 64 rows, and with 8 if the model is on a CPU. So it depends on the device alone, and a run that
    is continued begins with the same number.

    Raises:
        MdmkitError: the batch is neither `auto` nor a whole number from 1.
    """
    if isinstance(batch, str) and batch == AUTO:
        return (ON_CPU if backbone.device.type == "cpu" else ON_GPU), True
    if not (is_whole(batch) and int(batch) >= 1):
        raise MdmkitError(f"batch={batch!r}: it is a number of rows, at least 1, or 'auto'.")
    return int(batch), False
