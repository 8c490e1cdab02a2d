"""Answers that match a regular expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mdmkit import Constraint
from mdmkit_constrain.apart import of_pattern
from mdmkit_constrain.preparing import for_model

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Backbone


@dataclass(frozen=True)
class Regex(Constraint):
    """The whole answer matches a pattern, as in `re.fullmatch(pattern, text, re.ASCII)`.

    Args:
        pattern: of a regular language: no lookarounds, no references to groups, no `^`, `$` and `\\b`.
        mode: `exact`: beliefs become those under belief × rule; `mask`: only the support changes.
    """

    pattern: str = r"(.|\n)*"
    mode: Literal["exact", "mask"] = "exact"

    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        of_pattern(self.pattern)

    def prepare(self, backbone: Backbone, never: Tensor) -> Constraint:
        return for_model(of_pattern(self.pattern), backbone, never, f"pattern {self.pattern!r}", self.mode)
