"""What a model may remember between forwards: one policy per decode, named in the config.

A cache decides, at each forward, which columns are recomputed and what the backbone is handed to stand for the rest.
`none` recomputes every column. A cache changes the cost, never the meaning: columns that were not recomputed have no
hidden states, so no stage can average them in.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Cache:
    """The policy `none`, and the interface of every other: override what differs."""

    name = "none"

    def enter_block(self, span: slice, width: int) -> None:
        """Hear that decoding moved on to the columns of `span`, of `width` in all: the moment to refresh."""

    def columns(self, width: int) -> slice:
        """The columns that the next forward recomputes."""
        return slice(0, width)

    def view(self, rows: Tensor) -> Any:
        """What the backbone's `forward` gets as `cache` for canvas rows int64 [M]; None is no cache."""
        return None


CACHES: dict[str, type[Cache]] = {"none": Cache}
