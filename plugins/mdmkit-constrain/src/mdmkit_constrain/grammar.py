"""Answers that a grammar describes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from mdmkit import Constraint, MdmkitError, shown
from mdmkit.cli.commands import read_whole
from mdmkit_constrain.apart import TooSlow, of_grammar
from mdmkit_constrain.preparing import check_depth, for_model

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Backbone


# Characters of a grammar.
LONGEST = 100_000


@dataclass(frozen=True)
class Grammar(Constraint):
    """The whole answer is a text of a context-free grammar, in the notation of lark, in which rules are not too deep.

    Args:
        grammar: the grammar, or a file that holds it; a text without a colon is the name of a file.
        start: the rule of the whole answer.
        depth: how often a rule may stand in itself. At its own beginning or end it may do so any number of times.
        mode: `exact`: beliefs become those under belief × rule; `mask`: only the support changes.
    """

    grammar: str = r"root: /(.|\n)+/"
    start: str = "root"
    depth: int = 4
    mode: Literal["exact", "mask"] = "exact"

    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_depth(self.depth)
        if len(self.text) > LONGEST:
            raise MdmkitError(
                f"constraint.grammar holds {len(self.text)} characters, and {LONGEST} are the most: write fewer rules."
            )
        try:
            of_grammar(self.text, self.start, self.depth)
        except TooSlow:
            raise MdmkitError(
                "constraint.grammar is too large: it takes too long to expand. Set constraint.depth lower, or write "
                "fewer rules."
            ) from None

    @cached_property
    def text(self) -> str:
        """The grammar itself."""
        if ":" in self.grammar:
            return self.grammar
        try:
            text = read_whole(Path(self.grammar).expanduser()).decode()
            return text.replace("\r\n", "\n").replace("\r", "\n")
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or error
            raise MdmkitError(
                f"constraint.grammar is {shown(self.grammar)}, which has no rule (`root: …`) and is no file: {said}."
            ) from None

    def prepare(self, backbone: Backbone, never: Tensor) -> Constraint:
        automaton = of_grammar(self.text, self.start, self.depth)
        return for_model(automaton, backbone, never, "the grammar", self.mode)
