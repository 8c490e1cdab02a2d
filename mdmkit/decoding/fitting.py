"""If a unit does not fit into the GPU's memory, try with half as many rows at a time: once, or as often as needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch

from mdmkit.errors import MdmkitError
from mdmkit.stage.traits import trait

if TYPE_CHECKING:
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone

T = TypeVar("T")


def fitted(
    slots: int,
    rows: int,
    halved: bool,
    decode: Callable[[int], T],
    refuse: Callable[[int, bool], MdmkitError],
    halving: Callable[[int, int], None],
    free: Callable[[], None],
    often: bool = False,
) -> tuple[T, int]:
    """Decode a unit. If memory is too small, begin again from its prompts, with half the rows at a time.

    Args:
        slots: the largest number of rows that are decoded together.
        rows: the number of rows of the unit.
        halved: True if `slots` was halved for an earlier unit; it is then not halved again.
        decode: decodes the unit with so many rows at a time.
        refuse: makes the error if this is still too much. It gets how many rows were decoded at a time, and whether
            their number was halved before.
        halving: gets the number of rows that did not fit, and of the slots that are left, before the unit begins again.
        free: gives memory back, before `halving`.
        often: True: `slots` is halved as often as needed; False: once.

    Returns:
        What `decode` returned, and the number of slots.

    Raises:
        MdmkitError: out of memory with one row, or, if not `often`, a second time.
    """
    while True:
        at_once = min(slots, rows)
        try:
            return decode(at_once), slots
        except torch.OutOfMemoryError as error:
            if halved or at_once == 1:
                raise refuse(at_once, halved) from error
        # Outside of the handler, because the traceback keeps the step's tensors alive.
        halved, slots = not often, at_once // 2
        free()
        halving(at_once, slots)


def does_not_fit(sampler: Sampler, backbone: Backbone, rows: int, columns: int, halved: bool) -> MdmkitError:
    """Make the error; it names the sizes that need memory, and the setting that makes each smaller."""
    alternatives = trait("select", sampler.select, "alternatives")
    compared = f", {alternatives} alternatives each" if alternatives > 1 else ""
    advice = ["a smaller batch (--batch)"] if rows > 1 else []
    advice += [f"fewer alternatives (select.candidates, {alternatives} now)"] if alternatives > 1 else []
    advice += ["a shorter row (plan.length, or the prompt)", "a smaller type (--dtype bfloat16)"]
    return MdmkitError(
        f"out of GPU memory with {rows} row{'s' * (rows > 1)} of {columns} columns{compared}, over a vocabulary of "
        f"{backbone.vocab}{', after the batch was halved once' if halved else ''}. Ask for {', or '.join(advice)}."
    )
