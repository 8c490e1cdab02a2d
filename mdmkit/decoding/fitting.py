"""If a unit does not fit into the GPU's memory, try once with half as many rows at a time."""

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
    """The number of rows that are decoded together; halved for all later units if the GPU's memory is too small.

    Args:
        size: the number of rows to begin with.
        tell: gets the sentence that says that the number was halved.
        refuse: makes the error if this is still too much. It gets the prompts, how many were decoded at a time, and
            whether the number was halved before.
        slots: index of a unit's first prompt -> the number of rows from this unit on, if it is not `size`.
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
        """Decode a unit. If memory is too small, begin again from its prompts, with half the rows at a time.

        Raises:
            MdmkitError: out of memory with one row, or a second time.
        """
        first = min(prompt.index for prompt in unit)
        # Read the notes of all earlier units: the number that one of them noted holds for all later units.
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
            # Outside of the handler, because the traceback keeps the step's tensors alive.
            self._halve(at_once)
            self.slots[first] = self.size

    def _halve(self, rows: int) -> None:
        self.halved, self.size = True, rows // 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.tell(f"Out of GPU memory with {rows} rows: decoding {self.size} at a time from here on.")


def does_not_fit(sampler: Sampler, backbone: Backbone, rows: int, columns: int, halved: bool) -> MdmkitError:
    """Make the error; it names the sizes that need memory, and the setting that makes each smaller."""
    alternatives = getattr(sampler.select, "alternatives", 1)
    compared = f", {alternatives} alternatives each" if alternatives > 1 else ""
    advice = ["a smaller batch (--batch)"] if rows > 1 else []
    advice += [f"fewer alternatives (select.candidates, {alternatives} now)"] if alternatives > 1 else []
    advice += ["a shorter row (plan.length, or the prompt)", "a smaller type (--dtype bfloat16)"]
    return MdmkitError(
        f"out of GPU memory with {rows} row{'s' * (rows > 1)} of {columns} columns{compared}, over a vocabulary of "
        f"{backbone.vocab}{', after the batch was halved once' if halved else ''}. Ask for {', or '.join(advice)}."
    )
