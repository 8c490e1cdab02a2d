"""From a model that somebody else loaded to a backbone: which family's rules hold for it, which ids mean what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError, unknown
from mdmkit_text.families import FAMILIES
from mdmkit_text.families.decoder import BidirectionalDecoder
from mdmkit_text.families.dream import Dream
from mdmkit_text.families.masked_lm import MaskedLM
from mdmkit_text.foreign import Foreign, config_of, name_of, ways
from mdmkit_text.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mdmkit_text.families.family import Family

OPTIONS = ("mask_id", "shift", "ends", "family", "block_length")
_NO_TOKENIZER = "this model was wrapped without a tokenizer"


def read_options(options: dict[str, Any]) -> dict[str, Any]:
    """Check the options of `wrap`, each absent one as None.

    Raises:
        MdmkitError: an unknown option, or a value of the wrong kind.
    """
    for name in options:
        if name not in OPTIONS:
            raise MdmkitError(unknown("option of wrap", name, OPTIONS))
    found = dict.fromkeys(OPTIONS) | options
    shift, ends, family = found["shift"], found["ends"], found["family"]
    if shift is not None and not isinstance(shift, bool):
        raise MdmkitError(f"shift={shift!r}: it is True where logits speak of the next position, else False.")
    if ends is not None:
        listed = [ends] if isinstance(ends, int) else list(ends) if isinstance(ends, list | tuple | set) else [None]
        if not all(isinstance(i, int) and not isinstance(i, bool) for i in listed):
            raise MdmkitError(f"ends={ends!r}: it is a list of token ids.")
        found["ends"] = {*listed}
    if family is not None and family not in {each.name for each in FAMILIES}:
        raise MdmkitError(unknown("family", str(family), [each.name for each in FAMILIES]))
    return found


def family_for(model: Any, named: str | None, shift: bool | None) -> Family:
    """Find the family whose rules hold: the one named, the one of the config's model_type, or by the class.

    Raises:
        MdmkitError: shift contradicts the family.
    """
    model_type = config_of(model).get("model_type")
    own = next(
        (each for each in FAMILIES if each.name == named or (not named and model_type in each.model_types)), None
    )
    if own is not None:
        if shift is not None and shift != bool(own.lead):
            raise MdmkitError(
                f"shift={shift}, but {name_of(model)} is of family {own.name}, which says so itself: leave shift out"
                f"{'' if named else ', or name another family'}."
            )
        return own()
    if shift:
        return Dream()
    return MaskedLM() if is_native(model) and type(model).__name__.endswith("ForMaskedLM") else BidirectionalDecoder()


def is_native(model: Any) -> bool:
    """Say whether a model is of one of transformers' own classes, which can run trunk and head apart."""
    return type(model).__module__.startswith("transformers.models.")


def tokens_for(model: Any, tokenizer: Any, family: Family, ends: set[int] | None) -> Tokens:
    """Read the ids with a meaning off the tokenizer or the config; `ends` replaces those that end an answer.

    Raises:
        MdmkitError: the tokenizer is none of transformers', or the family's models write no ends.
    """
    if tokenizer is not None and not all(hasattr(tokenizer, name) for name in ("get_vocab", "added_tokens_decoder")):
        raise MdmkitError(
            f"wrap takes a tokenizer of transformers as its second argument, not a {type(tokenizer).__name__}: "
            "AutoTokenizer.from_pretrained(…) gives one, and without any the prompts are token ids."
        )
    if ends and not family.generates_end:
        raise MdmkitError(
            f"ends={sorted(ends)}, but {name_of(model)} is of family {family.name}, whose models fill masks in and "
            "write no end. Leave ends out, or name another family."
        )
    tokens = Tokens(tokenizer, SimpleNamespace(**config_of(model)), family.end_tokens, why_none=_NO_TOKENIZER)
    if ends is not None:
        tokens.ends = ends
    return tokens


def check_ends(ends: Iterable[int], mask_id: int, vocab: int) -> None:
    """Raise an MdmkitError where an id that is to end answers can never be chosen."""
    for end in sorted(ends):
        if end == mask_id or not 0 <= end < vocab:
            why = "is the mask's" if end == mask_id else f"is outside the model's vocabulary of {vocab} ids"
            raise MdmkitError(f"ends: token id {end} {why}, so it could never end an answer. Name other ids.")


def first_that_pads(model: Any, make: Callable[[Foreign], Any]) -> Any:
    """Make a backbone of a foreign model by the first way of masking under which padding leaves a row as it is.

    Where none does, by the first that runs: rows of one length then run together.

    Raises:
        MdmkitError: the model runs in no way (the reason is that of the first), or is causal.
    """
    found, reason = None, None
    named = type(name_of(model), (Foreign,), {})  # errors say the class's name
    for way in ways(model):
        try:
            made = make(named(model, way))
        except MdmkitError as error:
            # Only code that raised may do better with another mask; what was found wrong with the logits stands.
            if error.__cause__ is None:
                raise
            reason = reason or error
            continue
        if made.network.padded:
            return made
        found = found or made
    if found is None:
        raise reason or MdmkitError(f"{name_of(model)} cannot be called.")
    return found
