"""Answers that are one of several texts."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mdmkit import Constraint, MdmkitError, shown
from mdmkit_constrain.automaton import of_texts
from mdmkit_constrain.preparing import for_model

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Backbone


# Bytes of all texts together. Each may be a state.
MOST = 20_000


@dataclass(frozen=True)
class Choices(Constraint):
    """The whole answer is one of these texts.

    Args:
        of: the texts.
        mode: `exact`: beliefs become those under belief × rule; `mask`: only the support changes.
    """

    of: tuple[str, ...] = ("yes", "no")
    mode: Literal["exact", "mask"] = "exact"

    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not any(self.of):
            raise MdmkitError(
                "constraint.of names no text: give at least one, as in constraint={name: choices, of: [a, b]}."
            )

        if (size := sum(len(text.encode()) for text in self.of)) > MOST:
            raise MdmkitError(
                f"constraint.of holds {size} bytes of text, and {MOST} are the most: give fewer or shorter."
            )

    def prepare(self, backbone: Backbone, never: Tensor) -> Constraint:
        return for_model(_tree(self.of), backbone, never, f"choices {shown(list(self.of))}", self.mode)


# Kept, since the tables of a model are kept by the automaton.
_tree = functools.lru_cache(maxsize=64)(of_texts)
