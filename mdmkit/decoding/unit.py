"""A unit of a decode, its outcome, and how this process decodes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit.decoding.fitting import does_not_fit, fitted
from mdmkit.errors import MdmkitError
from mdmkit.loop.engine import Ended, Engine, free_memory
from mdmkit.loop.observe import Watchers

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row
    from mdmkit.decoding.encodings import Encodings
    from mdmkit.loop.sampler import Sampler


@dataclass(frozen=True)
class Unit:
    """Prompts that are decoded together. It can be pickled.

    Attributes:
        number: its index among the units, in the order in which they are handed out.
        prompts: in the order of their indices.
        slots: the largest number of rows that are decoded at a time.
        halved: True if `slots` was halved because memory was too small for an earlier unit, so it is not halved again.
        auto: True if `slots` may be halved as often as needed; `halved` is then False.
    """

    number: int
    prompts: tuple[Prompt, ...]
    slots: int
    halved: bool = False
    auto: bool = False


@dataclass(frozen=True)
class Outcome:
    """The result of a unit: one row or one error for each prompt. It can be pickled.

    Attributes:
        number: the unit's.
        rows: in any order.
        errors: one for each row that could not be decoded; it names the prompt.
        calls: the number of model calls.
        slots: the unit's, or fewer if memory was too small for them.
    """

    number: int
    rows: Sequence[Row]
    errors: Sequence[MdmkitError]
    calls: int
    slots: int


class UnitDecoder:
    """Decode units in this process, each with its own engine.

    Args:
        encodings: the prompts as the model has them.
        watchers: observers; `on_start` has already been called.
        halving: gets a unit, the number of rows that did not fit, and the number of slots that are left, before the
            unit begins again with them.
    """

    def __init__(
        self,
        sampler: Sampler,
        encodings: Encodings,
        watchers: Watchers | None = None,
        halving: Callable[[Unit, int, int], None] = lambda unit, rows, slots: None,
    ):
        self.sampler, self.encodings, self.halving = sampler, encodings, halving
        self.watchers = watchers or Watchers(())
        self._admitted = 0

    def __call__(self, unit: Unit) -> Outcome:
        """Decode a unit. Prompts with most to fill are admitted first, and all of them end.

        If a part fails for all rows at once, the rows that have ended are kept, and each other row has this error.

        Raises:
            MdmkitError: the GPU's memory is too small for half the slots; if the unit is `auto`, for one row.
        """
        (ended, calls), slots = fitted(
            unit.slots,
            len(unit.prompts),
            unit.halved,
            decode=lambda at_once: self._attempt(unit, at_once),
            refuse=lambda at_once, halved: self._refuse(unit, at_once, halved),
            halving=lambda rows, slots: self.halving(unit, rows, slots),
            free=lambda: free_memory(self.encodings.backbone),
            often=unit.auto,
        )
        rows = [each.row for each in ended if each.row is not None]
        errors = [each.error for each in ended if each.error is not None]
        return Outcome(unit.number, rows, errors, calls, slots)

    def _attempt(self, unit: Unit, at_once: int) -> tuple[list[Ended], int]:
        engine = Engine(self.sampler, self.encodings.backbone, at_once, observers=self.watchers, first=self._admitted)
        self._admitted += len(unit.prompts)
        ready = [self.encodings.of(prompt) for prompt in unit.prompts]
        ready.sort(key=lambda one: -int(one.canvas.open.sum()))  # stable: of as many the earlier one first
        ids: list[int] = []
        ended: list[Ended] = []
        for one in ready:
            try:
                ids.append(engine.admit(one))
            except MdmkitError as error:  # of this prompt; the others are decoded
                ended.append(Ended(-1, error=error))
        try:
            while engine.busy:
                ended += engine.step()
        except torch.OutOfMemoryError:
            engine.abandon()
            raise
        except MdmkitError as error:  # no row can go on; those that have ended stay
            ended += engine.abandon()
            known = {each.id for each in ended}
            ended += [Ended(id_, error=error) for id_ in ids if id_ not in known]
        return ended, engine.calls

    def _refuse(self, unit: Unit, at_once: int, halved: bool) -> MdmkitError:
        columns = max(self.encodings.size(prompt).length for prompt in unit.prompts)
        return does_not_fit(self.sampler, self.encodings.backbone, at_once, columns, halved)
