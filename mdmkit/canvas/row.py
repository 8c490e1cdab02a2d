"""One decoded prompt: the result for the user."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One decoded prompt.

    Attributes:
        tokens: ids of all generated tokens that were decoded, also those after an end token; for an infill, of the
            whole filled row.
        order: for each of `tokens`, the tick at which it was written; −1 for a prompt token.
        uncertainty: cumulative uncertainty H̃ over all committed tokens, nats.
        nfe: row-forwards of the row.
        row_tokens: tokens that these forwards need; fewer than NFE times the length under a cache.
        stopped: why the row ended: `end` (an end token), `length` (every appended mask is filled), `filled` (every mask
            of an infill is filled), or the name of the sampler's stop rule.
        trace: for each position (prompt included) order, confidence and entropy; for each tick choice and values.
        logprobs: with `plan.logprobs`, for each of `tokens`: `logprob`, its log-probability at temperature 1 at the
            step that wrote it, nats, and its `rank`, 1 if no token was more probable; with `final` also
            `final_logprob` and `final_rank`, under the finished row. None for a prompt token, and where the model rules
            a token out.
        columns: tokens computed, including those that only fill up a batch; it depends on the other rows of the batch.
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
    logprobs: dict[str, list[Any]] | None = None

    def json(self) -> dict[str, Any]:
        """The row as `--output` writes it: all fields except `trace` and `columns`; `logprobs` only if it has some."""
        left_out = {"trace", "columns", *(() if self.logprobs else ("logprobs",))}
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in left_out}
