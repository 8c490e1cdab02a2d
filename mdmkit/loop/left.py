"""What a row is when it leaves the loop."""

from __future__ import annotations

from dataclasses import dataclass

from mdmkit.canvas.canvas import Canvas
from mdmkit.canvas.trace import Trace
from mdmkit.errors import RowError


@dataclass(frozen=True)
class Left:
    """One row that is done.

    Attributes:
        id: as it was admitted.
        canvas: [1, T]; nothing is open.
        trace: of this row alone, under a search of the particle that is the answer; NFE is that of all particles.
        stopped: the rule that ended it before it was full, or None.
        error: why it cannot be decoded any further; canvas and trace are then as far as they came.
    """

    id: int
    canvas: Canvas
    trace: Trace
    stopped: str | None = None
    error: RowError | None = None
