"""When a batch does not fit into the GPU's memory: half of it is tried, once."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
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
        refuse: turns the prompts that do not fit, and whether it was halved before, into the error to raise.
    """

    def __init__(self, size: int, tell: Callable[[str], None], refuse: Callable[[list[Prompt], bool], MdmkitError]):
        self.size, self.tell, self.refuse, self.halved = size, tell, refuse, False

    def each(self, batch: list[Prompt], decode: Callable[[list[Prompt]], T]) -> Iterator[T]:
        """Decode a batch in parts of at most `size`; yield what came of each.

        Raises:
            MdmkitError: out of memory with one row, or a second time.
        """
        start = 0
        while start < len(batch):
            part = batch[start : start + self.size]
            try:
                result = decode(part)
            except torch.OutOfMemoryError as error:
                if self.halved or len(part) == 1:
                    raise self.refuse(part, self.halved) from error
                fits = False
            else:
                fits = True
            if not fits:  # outside the handler: its traceback held on to the step's tensors
                self._halve(len(part))
                continue
            yield result
            start += len(part)

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
