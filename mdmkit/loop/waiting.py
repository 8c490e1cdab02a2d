"""Prompts that wait for a slot, the room that each takes, and how several join together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from mdmkit.canvas.canvas import Canvas, joined
from mdmkit.errors import MdmkitError
from mdmkit.loop.asking import Asking
from mdmkit.loop.encoded import Encoded
from mdmkit.settings.numbers import is_whole

if TYPE_CHECKING:
    from mdmkit.model.backbone import Backbone


@dataclass(frozen=True)
class Waiting:
    """A prompt that waits, or is at work.

    Attributes:
        deadline: the moment, of `time.monotonic`, after which it is given up; None: never.
    """

    id: int
    encoded: Encoded
    deadline: float | None


@dataclass(frozen=True)
class Room:
    """The columns of the store for all rows at work together.

    Attributes:
        columns: their largest number; None: no limit.
        room: columns that each row may grow by (`plan.room`).
        particles, branches: how often each row takes its columns.
    """

    columns: int | None
    room: int
    particles: int
    branches: int

    def __post_init__(self) -> None:
        if self.columns is not None and not (is_whole(self.columns) and self.columns >= 1):
            raise MdmkitError(
                f"columns={self.columns!r}: it is the number of columns of all rows together, a whole number from 1, "
                "or None for no limit."
            )

    def of(self, encoded: Encoded) -> int:
        """How many columns a row takes."""
        return (encoded.columns + self.room) * self.particles * self.branches

    def fits(self, used: int, encoded: Encoded) -> bool:
        """True if a row may join others that take `used` columns."""
        return self.columns is None or used + self.of(encoded) <= self.columns

    def check(self, encoded: Encoded) -> None:
        """Refuse a row that would never fit.

        Raises:
            MdmkitError: it takes more columns than there are.
        """
        if self.fits(0, encoded):
            return
        takes, reckoned = self.of(encoded), ""
        if takes != encoded.columns:
            reckoned = (
                f" (({encoded.columns} + {self.room} of plan.room) × {self.particles} particles × {self.branches} "
                "branches of guidance)"
            )
        raise MdmkitError(
            f"prompt {encoded.prompt.index} needs {takes} columns{reckoned}, and the engine has {self.columns} for all "
            "rows together. Shorten it, or give the engine more columns."
        )


def together(backbone: Backbone, waiting: Sequence[Waiting]) -> tuple[Canvas, Any]:
    """Put several prompts on one canvas, with the conditioning of all of them."""
    parts = [one.encoded.conditioning for one in waiting]
    canvas = joined([one.encoded.canvas for one in waiting])
    if len(parts) == 1 or all(part is None for part in parts):
        return canvas, parts[0]
    if backbone.guided:
        first, second = (torch.tensor([half], device=backbone.device) for half in (0, 1))
        with Asking(backbone, "select"):
            parts = [backbone.select(part, half) for half in (first, second) for part in parts]
    with Asking(backbone, "join"):
        return canvas, backbone.join(parts)
