"""Units that killed their workers: which prompt does it, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from mdmkit import MdmkitError
from mdmkit.cli.commands import default_registry

if TYPE_CHECKING:
    from mdmkit import Unit


class Lost:
    """Units that are given up. To find the prompt that kills, a unit is halved until a single prompt is left.

    The rows of the halves are not used: prompts that are decoded with others have other last digits.
    """

    def __init__(self) -> None:
        self._units: dict[int, Unit] = {}
        self._killers: list[int] = []
        self._cause: Exception | None = None

    def has(self, unit: Unit) -> bool:
        """True if it is a unit that is given up, or a part of one."""
        return unit.number in self._units

    def killed(self, unit: Unit, cause: Exception) -> list[Unit]:
        """Give a unit up, or a part of one, because its worker has died. Return the parts to try now."""
        self._cause = cause
        self._units.setdefault(unit.number, unit)
        if len(unit.prompts) == 1:
            self._killers.append(unit.prompts[0].index)
            return []
        half = len(unit.prompts) // 2
        return [replace(unit, prompts=part) for part in (unit.prompts[:half], unit.prompts[half:])]

    def check(self) -> None:
        """At the end of a decode: refuse it if units were given up.

        Raises:
            MdmkitError: it names the prompts.
        """
        if not self._units:
            return
        rows = sorted(prompt.index for unit in self._units.values() for prompt in unit.prompts)
        alone = sorted(self._killers)
        if alone:
            what = f"the process that decodes {_prompts(alone)} dies"
        else:
            what = f"the process that decodes {_prompts(rows)} together dies, though none of them alone ends it"
        missing = "" if rows == alone else f" The rows of {_prompts(rows)} are missing, because they were its unit's."
        raise MdmkitError(
            f"{default_registry().find('engine', 'ray')}: {what}. It may need more memory than its machine has (a "
            f"smaller --batch, a shorter length), or a part of the sampler or the model ends it.{missing} All other "
            "rows are finished."
        ) from self._cause


def _prompts(numbers: Iterable[int]) -> str:
    """`prompts 3, 5-9`, counted from 0."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    said = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
    return f"{'prompt' if said.isdigit() else 'prompts'} {said}"
