"""Check an outcome: an engine may have changed it, or made it itself."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mdmkit.canvas.row import Row
from mdmkit.errors import MdmkitError
from mdmkit.settings.numbers import is_whole

if TYPE_CHECKING:
    from mdmkit.decoding.unit import Outcome, Unit


def wrong_field(outcome: Outcome, unit: Unit) -> str | None:
    """Describe the first field of an outcome that does not have the form of `Outcome`; None: all have it.

    It says nothing on which rows are there.
    """
    for name, kind in (("rows", Row), ("errors", MdmkitError)):
        given = getattr(outcome, name)
        if not isinstance(given, Sequence) or isinstance(given, str):
            return f"{name}={reprlib.repr(given)}: it must be a list of {kind.__name__}"
        for place, one in enumerate(given):
            if not isinstance(one, kind):
                return f"{name}[{place}]={reprlib.repr(one)}: it must be a list of {kind.__name__}"
    for place, row in enumerate(outcome.rows):
        if not is_whole(row.index):
            return f"rows[{place}].index={reprlib.repr(row.index)}: it must be the index of the row's prompt"
    if not is_whole(outcome.calls) or outcome.calls < 0:
        return f"calls={reprlib.repr(outcome.calls)}: it must be a whole number from 0"
    if not is_whole(outcome.slots) or not 1 <= outcome.slots <= unit.slots:
        return f"slots={reprlib.repr(outcome.slots)}: it must be a whole number from 1 to the unit's, {unit.slots}"
    return None
