"""A row after it has left the loop."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mdmkit.canvas.canvas import Canvas
from mdmkit.canvas.trace import Trace
from mdmkit.errors import RowError


@dataclass(frozen=True)
class Left:
    """One row that has ended.

    Attributes:
        id: the id of its admission.
        canvas: [1, T]; nothing is open, unless there is an error.
        trace: of this row; under a search, of the particle that is the answer, with the NFE of all particles.
        stopped: the rule that ended the row before it was full, or None.
        final: log-probabilities fp32 [T] and ranks int64 [T] of all tokens under the finished row; None: nobody asks.
        error: why the row cannot be decoded further; canvas and trace are then incomplete.
    """

    id: int
    canvas: Canvas
    trace: Trace
    stopped: str | None = None
    error: RowError | None = None
    final: tuple[Tensor, Tensor] | None = None
