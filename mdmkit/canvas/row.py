"""One decoded prompt, as the user gets it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One decoded prompt.

    Attributes:
        tokens: ids of the generated tokens, those behind an end token included, as far as they were decoded; for an
            infill, of the whole filled canvas.
        order: for each of `tokens`, the tick that wrote it, −1 for a given one.
        uncertainty: cumulative uncertainty H̃ over every committed token, nats.
        nfe: row-forwards that the row cost.
        row_tokens: tokens that were computed in them, fewer than NFE times the length where a cache stood for the rest.
        stopped: why it ended: `end` (with an end token), `length` (every appended mask is filled), `filled` (an
            infill is), or the name of the sampler's stop rule.
        trace: per position of the row (prompt included) order, confidence, entropy; per tick choice and values.
        columns: tokens that were computed, those that only fill a batch up included: it hangs on the rows beside it.
    """

    index: int
    prompt: str | None
    prompt_ids: list[int]
    text: Any
    tokens: list[int]
    seed: int
    uncertainty: float
    nfe: int
    row_tokens: int
    order: list[int]
    stopped: str
    trace: dict[str, Any] = field(repr=False, default_factory=dict)
    columns: int = 0

    def json(self) -> dict[str, Any]:
        """The row as `--output` writes it: everything but the trace, and what hangs on the rows beside it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("trace", "columns")}
