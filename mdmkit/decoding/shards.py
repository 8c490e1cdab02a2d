"""Shards of a run: each is decoded by a command of its own, and joined they are the rows of one run."""

from __future__ import annotations

from dataclasses import dataclass

from mdmkit.decoding.units import WINDOW


@dataclass(frozen=True)
class Shard:
    """One of `of` shards of a run.

    Attributes:
        number: from 1 to `of`.
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def indices(self, prompts: int, batch: int) -> range:
        """Return the indices of the prompts that this shard decodes, of so many prompts.

        Whole windows of `WINDOW` batches are shared, because `units` groups prompts within a window. So the units of
        all shards together are those of one run. All shards get the same number of windows; if some are left over, the
        first shards get one more each.
        """
        window = WINDOW * batch
        each, more = divmod(-(-prompts // window), self.of)
        before = self.number - 1
        first = each * before + min(before, more)
        end = first + each + (before < more)
        return range(min(first * window, prompts), min(end * window, prompts))
