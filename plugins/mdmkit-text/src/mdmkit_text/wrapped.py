"""From a model that the caller loaded to a backbone: its family and its special ids."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError, unknown
from mdmkit_text.ends import read_ends
from mdmkit_text.families import FAMILIES
from mdmkit_text.families.decoder import BidirectionalDecoder
from mdmkit_text.families.dream import Dream
from mdmkit_text.families.masked_lm import MaskedLM
from mdmkit_text.foreign import Foreign, config_of, name_of, ways
from mdmkit_text.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdmkit_text.families.family import Family

OPTIONS = ("mask_id", "shift", "ends", "family", "block_length")
_NO_TOKENIZER = "this model was wrapped without a tokenizer"


def read_options(options: dict[str, Any]) -> dict[str, Any]:
    """Check the options of `wrap`; an absent one is None.

    Raises:
        MdmkitError: an unknown option, or a value of the wrong kind.
    """
    for name in options:
        if name not in OPTIONS:
            raise MdmkitError(unknown("option of wrap", name, OPTIONS))
    found = dict.fromkeys(OPTIONS) | options
    shift, family = found["shift"], found["family"]
    if shift is not None and not isinstance(shift, bool):
        raise MdmkitError(f"shift={shift!r}: it is True if logits predict the next position, else False.")
    found["ends"] = read_ends(found["ends"])
    if family is not None and family not in {each.name for each in FAMILIES}:
        raise MdmkitError(unknown("family", str(family), [each.name for each in FAMILIES]))
    return found


def family_for(model: Any, named: str | None, shift: bool | None) -> Family:
    """Find the model's family: the named one, that of the config's model_type, or that of the class.

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
                f"shift={shift}, but {name_of(model)} is of family {own.name}, which sets the shift itself: leave "
                "shift out"
                f"{'' if named else ', or name another family'}."
            )
        return own()
    if shift:
        return Dream()
    return MaskedLM() if is_native(model) and type(model).__name__.endswith("ForMaskedLM") else BidirectionalDecoder()


def is_native(model: Any) -> bool:
    """Return True if a model is of one of transformers' classes, which can run trunk and head separately."""
    return type(model).__module__.startswith("transformers.models.")


def tokens_for(model: Any, tokenizer: Any, family: Family, ends: set[int] | None) -> Tokens:
    """Read the special ids from the tokenizer or the config; `ends` replaces those that end an answer.

    Raises:
        MdmkitError: the tokenizer is not one of transformers, or models of the family write no end token.
    """
    if tokenizer is not None and not all(hasattr(tokenizer, name) for name in ("get_vocab", "added_tokens_decoder")):
        raise MdmkitError(
            f"wrap takes a tokenizer of transformers as its second argument, not a {type(tokenizer).__name__}: "
            "AutoTokenizer.from_pretrained(…) gives one. Without a tokenizer, prompts are token ids."
        )
    tokens = Tokens(tokenizer, SimpleNamespace(**config_of(model)), family, why_none=_NO_TOKENIZER)
    tokens.replace_ends(ends, name_of(model), family)
    return tokens


def first_that_pads(model: Any, make: Callable[[Foreign], Any]) -> Any:
    """Make a backbone from a foreign model, with the first way of masking with which padding does not change a row.

    If there is none, use the first way that runs: then only rows of the same length run together.

    Raises:
        MdmkitError: the model runs in no way (the error is that of the first way), or is causal.
    """
    found, reason = None, None
    named = type(name_of(model), (Foreign,), {})  # errors name the class
    for way in ways(model):
        try:
            made = make(named(model, way))
        except MdmkitError as error:
            # Another mask can only help if the code raised an error; a fault of the logits is final.
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
