"""When a unit does not fit into the GPU's memory: half of its rows at once are tried, one time."""

from __future__ import annotations

import gc
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, TypeVar

import torch

from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone

T = TypeVar("T")


class Fitting:
    """The number of rows that are decoded together, halved for good where the GPU's memory was too small once.

    Args:
        size: rows to begin with.
        tell: gets the sentence that says so.
        refuse: turns the prompts that do not fit, how many were decoded at once, and whether that was halved before,
            into the error to raise.
        slots: how many rows units have from the one on whose first prompt has that index, where that is not `size`.
    """

    def __init__(
        self,
        size: int,
        tell: Callable[[str], None],
        refuse: Callable[[list[Prompt], int, bool], MdmkitError],
        slots: MutableMapping[int, int] | None = None,
    ):
        self.size, self.tell, self.refuse, self.halved = size, tell, refuse, False
        self.slots = {} if slots is None else slots

    def run(self, unit: list[Prompt], decode: Callable[[list[Prompt], int], T]) -> T:
        """Decode a unit; out of memory it begins again from its prompts, with half the rows at once.

        Raises:
            MdmkitError: out of memory with one row, or a second time.
        """
        first = min(prompt.index for prompt in unit)
        # Also what an earlier unit noted, which may be finished and on disk: halving is for all that come after it.
        noted = min((number for index, number in self.slots.items() if index <= first), default=self.size)
        if noted < self.size:
            self.size, self.halved = noted, True
        while True:
            at_once = min(self.size, len(unit))
            try:
                result = decode(unit, at_once)
            except torch.OutOfMemoryError as error:
                if self.halved or at_once == 1:
                    raise self.refuse(unit, at_once, self.halved) from error
                fits = False
            else:
                fits = True
            if fits:
                return result
            # Outside the handler: its traceback held on to the step's tensors.
            self._halve(at_once)
            self.slots[first] = self.size

    def _halve(self, rows: int) -> None:
        self.halved, self.size = True, rows // 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.tell(f"Out of GPU memory with {rows} rows: decoding {self.size} at a time from here on.")


def does_not_fit(sampler: Sampler, backbone: Backbone, rows: int, columns: int, halved: bool) -> MdmkitError:
    """Name the sizes that fill the memory, and the settings that make each smaller."""
    alternatives = getattr(sampler.select, "alternatives", 1)
    compared = f", {alternatives} alternatives each" if alternatives > 1 else ""
    advice = ["a smaller batch (--batch)"] if rows > 1 else []
    advice += [f"fewer alternatives (select.candidates, {alternatives} now)"] if alternatives > 1 else []
    advice += ["a shorter row (plan.length, or the prompt)", "a smaller type (--dtype bfloat16)"]
    return MdmkitError(
        f"out of GPU memory with {rows} row{'s' * (rows > 1)} of {columns} columns{compared}, over a vocabulary of "
        f"{backbone.vocab}{', after the batch was halved once' if halved else ''}. Ask for {', or '.join(advice)}."
    )
