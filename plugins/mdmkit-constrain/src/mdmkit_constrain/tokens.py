"""Answers that consist of some tokens only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mdmkit import Constraint, MdmkitError, shown
from mdmkit_constrain.automaton import Automaton
from mdmkit_constrain.preparing import prepared, texts_of

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Backbone

# One state, and every byte leads to it again: which tokens are left is all there is to the rule.
_ANY = Automaton(np.array([[0] * 256, [1] * 256], dtype=np.int32), np.array([True, False]))


@dataclass(frozen=True)
class Tokens(Constraint):
    """The whole answer consists of these tokens.

    Args:
        allowed: token ids, or the texts of single tokens. At least one of them must be able to stand in an answer.
    """

    allowed: tuple[int | str, ...] = (0,)

    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.allowed:
            raise MdmkitError("constraint.allowed names no token: give ids or texts, as in [5, 6] or [a, b].")

    def prepare(self, backbone: Backbone, never: Tensor) -> Constraint:
        own = {*_ids(self.allowed, backbone)}
        if own <= {*never.nonzero()[:, 0].tolist(), *backbone.ends, *backbone.endings}:
            raise MdmkitError(
                f"constraint.allowed names only tokens that no answer consists of ({shown(sorted(own))}): the mask, "
                "end and special tokens, and those of draw.suppress. Every answer would be empty. Name other tokens."
            )
        texts = [b"x" if i in own else None for i in range(backbone.vocab)]
        return prepared(_ANY, texts, backbone, never, f"tokens {shown(sorted(own))}")


def _ids(allowed: tuple[int | str, ...], backbone: Backbone) -> list[int]:
    """The ids of tokens that are named by id or by text."""
    found = []
    texts = texts_of(backbone) if any(isinstance(each, str) for each in allowed) else ()
    for each in allowed:
        if isinstance(each, int):
            if not 0 <= each < backbone.vocab:
                raise MdmkitError(
                    f"constraint.allowed names token id {each}, and the model's ids go from 0 to {backbone.vocab - 1}."
                )
            found.append(each)
            continue
        own = [i for i, text in enumerate(texts) if text in (each.encode(), f" {each}".encode() * backbone.drops_space)]
        if not own:
            raise MdmkitError(
                f"constraint.allowed names {each!r}, and no single token of this model has this text. Name tokens that "
                "it has, or use constraint={name: regex, pattern: …}."
            )
        found += own
    return found
