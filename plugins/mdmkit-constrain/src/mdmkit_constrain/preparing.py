"""Make a rule ready for a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mdmkit import MdmkitError
from mdmkit_constrain.automaton import Automaton
from mdmkit_constrain.kept.tables import tables_for
from mdmkit_constrain.language import Language, Mode

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Backbone


def check_depth(depth: int) -> None:
    """Refuse a depth below 0.

    Raises:
        MdmkitError: it is.
    """
    if depth < 0:
        raise MdmkitError(f"constraint.depth is {depth}, and must be a whole number from 0 on.")


def texts_of(backbone: Backbone) -> tuple[bytes | None, ...]:
    """Return what each of a model's tokens adds to a text.

    Raises:
        MdmkitError: the model does not say.
    """
    texts = tuple(backbone.texts())
    if not texts:
        raise MdmkitError(
            f"backbone {type(backbone).__name__!r} does not say what text each token of this model stands for, so no "
            "rule about texts can be kept. It needs a tokenizer whose decoder joins its tokens (ByteLevel, Metaspace, "
            "SentencePiece), or a method texts() of its own. A rule about token ids needs no texts: "
            "constraint={name: tokens, allowed: [5, 6]}."
        )
    return texts


def for_model(automaton: Automaton, backbone: Backbone, never: Tensor, what: str, mode: Mode) -> Language:
    """Return a rule about texts for a model; arguments and errors as for `prepared`, and for `texts_of`."""
    spaced = automaton.with_space if backbone.drops_space else automaton
    return prepared(spaced, texts_of(backbone), backbone, never, what, mode)


def prepared(
    automaton: Automaton,
    texts: Sequence[bytes | None],
    backbone: Backbone,
    never: Tensor,
    what: str,
    mode: Mode = "exact",
) -> Language:
    """Return a rule for a model.

    Args:
        texts: what each token adds to a text.
        never: bool [V]; tokens that may not be chosen.
        what: what errors call the rule.

    Raises:
        MdmkitError: no tokens of the model make a text that keeps the rule.
    """
    forbidden = tuple(never.nonzero()[:, 0].tolist())
    tables = tables_for(automaton, tuple(texts), forbidden, tuple(backbone.ends), tuple(backbone.endings))
    if not bool(tables.final.any()):
        raise MdmkitError(
            f"no text of this model's tokens keeps {what}. Change the rule, or use a model whose tokens can write it."
        )
    return Language(tables.to(never.device), tables, what, mode)
