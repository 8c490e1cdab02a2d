"""The token ids of a checkpoint: text to ids and back, the mask's id, and ids that may never be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError
from mdmkit_text.config import listed
from mdmkit_text.families.plain import Plain
from mdmkit_text.jsonfile import read_object
from mdmkit_text.plain.tokenizer import GENERIC, read_plain_tokenizer
from mdmkit_text.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from mdmkit_text.families.family import Family

# A tokenizer exists if its vocabulary does. Without one, transformers would make an empty tokenizer.
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken")
_NONE = "this model's directory holds no tokenizer"
_SPECIAL = ("mask", "pad", "cls", "sep", "bos", "eos", "unk")


class Tokens:
    """The tokenizer, if there is one, and the special ids.

    Attributes:
        special: name ("mask", "pad", "cls", "sep", "bos", "eos", "unk") -> id; from the tokenizer if there is one; else
            from config.json, whose defaults may not fit another tokenizer.
        ends: ids that end a text.
        writes_end: True if an end may be chosen, and ends a generated text: so for a decoder, and for a masked language
            model that was trained on conversations (it has a chat template), which fills with its end what it leaves
            empty.

    Args:
        tokenizer: transformers' tokenizer, or a `PlainTokenizer`; None: ids only.
        config: the model's config object.
        family: the model's family, or None: names of further tokens that end a text, and if its models write an end.
        more_ends: further ids that end a text, as config.json and generation_config.json name them.
        why_none: why there is no tokenizer, for errors.
    """

    def __init__(
        self,
        tokenizer: Any,
        config: Any,
        family: Family | None = None,
        more_ends: Iterable[int] = (),
        why_none: str = _NONE,
    ):
        self.tokenizer, self.why_none = tokenizer, why_none
        source = config if tokenizer is None else tokenizer
        with quiet():
            found = {name: getattr(source, f"{name}_token_id", None) for name in _SPECIAL}
        self.special: dict[str, int] = {}
        self.ends: set[int] = set()
        for name, value in found.items():
            ids = listed(value)
            if ids:
                self.special[name] = ids[0]
            if name == "eos":
                self.ends.update(ids)
        chats = bool(getattr(tokenizer, "chat_template", None)) and bool(self.ends)
        self._of_decoder = family is None or family.generates_end
        self.writes_end = self._of_decoder or chats
        if tokenizer is not None and family is not None:
            vocabulary = tokenizer.get_vocab()
            self.ends.update(vocabulary[name] for name in family.end_tokens if name in vocabulary)
        if self.writes_end:
            self.ends.update(more_ends)
        declared = getattr(config, "mask_token_id", None)
        if "mask" not in self.special and isinstance(declared, int):
            self.special["mask"] = declared

    @classmethod
    def read(cls, folder: Path, config: Any, family: Family, more_ends: Iterable[int] = ()) -> Tokens:
        """Read a model directory's tokenizer, if there is one that needs no code of the checkpoint.

        Raises:
            MdmkitError: the tokenizer's files exist, but do not load; or it has a token with which models of this kind
                do more than fill masks.
        """
        if not any(any(folder.glob(pattern)) for pattern in _VOCABULARIES):
            return cls(None, config, family, more_ends)
        simple = read_plain_tokenizer(folder) if isinstance(family, Plain) else None
        if simple is not None:
            return cls(simple, config, family, more_ends)
        settings = folder / "tokenizer_config.json"
        named = read_object(settings).get("tokenizer_class") if settings.is_file() else None
        foreign = named is not None and _is_foreign(str(named))
        if (folder / "tokenizer.json").is_file():
            # AutoTokenizer replaces a generic class by that of the model type, with tokens that this file lacks. And
            # the model type is that of transformers, which tells nothing about a family that has its own type.
            plain = named in GENERIC or foreign or (named is None and bool(family.model_types))
        elif foreign:
            return cls(
                None,
                config,
                family,
                more_ends,
                why_none=f"this model's tokenizer is code of the checkpoint ({named}), which is never run, and there "
                "is no tokenizer.json",
            )
        else:
            plain = False
        try:
            # Without transformers' config object, it reads config.json.
            native = None if isinstance(family, Plain) else config
            tokenizer = _plain(folder) if plain else _of_model_type(folder, native)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # of many types; a panic of tokenizers, which is in Rust, is no Exception
            raise MdmkitError(f"{folder}: the tokenizer does not load: {' '.join(str(error).split())}") from error
        _check_control(folder, tokenizer, family)
        return cls(tokenizer, config, family, more_ends)

    def replace_ends(self, ends: set[int] | None, name: str, family: Family) -> None:
        """Replace the ids that end a text; None changes nothing.

        Raises:
            MdmkitError: models of the family write no end.
        """
        if ends and not self.writes_end:
            raise MdmkitError(
                f"ends={sorted(ends)}, but {name} is of family {family.name}, whose models fill masks and write no end "
                "token. Leave ends out, or name another family."
            )
        if ends is not None:
            self.ends = ends

    def never(self, vocab: int) -> list[int]:
        """Ids that may never be chosen: special ids, except ends that are written, and rows without a token."""
        never = set(self.special.values())
        if self.tokenizer is not None:
            never.update(set(range(vocab)) - set(self.tokenizer.get_vocab().values()))
            if not self._of_decoder:
                never.update(self.tokenizer.all_special_ids)
        # If one token is both padding and end, it must stay allowed: the model ends with it.
        never = never - self.ends if self.writes_end else never | self.ends
        return sorted(i for i in never if i < vocab)

    def enclose(self, text: str) -> tuple[list[int], list[int]]:
        """The ids of a text with the tokenizer's opening tokens before it, and separately the closing tokens."""
        given = self.tokenizer(text, return_special_tokens_mask=True, verbose=False)
        return self._cut(list(given["input_ids"]), list(given["special_tokens_mask"]))

    def _cut(self, ids: list[int], of_template: list[int]) -> tuple[list[int], list[int]]:
        """Split ids at the end of the text, where the closing tokens begin."""
        stop = len(ids)
        if all(of_template):  # no text between opening and closing tokens: distinguish them by their meaning
            closing = {self.special.get("sep"), *self.ends}
            while stop and ids[stop - 1] in closing:
                stop -= 1
        else:
            while of_template[stop - 1]:
                stop -= 1
        return ids[:stop], ids[stop:]

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens; without a tokenizer, the ids themselves."""
        if self.tokenizer is None:
            return " ".join(str(i) for i in ids)
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def render(self, token: int) -> str:
        """One token as text; the token's name if it has no text."""
        if self.tokenizer is None:
            return str(token)
        return self.tokenizer.decode([token]) or str(self.tokenizer.convert_ids_to_tokens(token))


def _check_control(folder: Path, tokenizer: Any, family: Family) -> None:
    vocabulary = tokenizer.get_vocab()
    for token, ability in family.control_tokens.items():
        if token in vocabulary:
            raise MdmkitError(
                f"{folder}: its tokenizer has the token {token}: a model with it {ability}. mdmkit would decode it as "
                f"a plain model of family {family.name}, and the texts would be wrong, so it is refused."
            )


# Each imports only the class that it needs: that of the plain ones is a second faster to import than AutoTokenizer.
def _plain(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    with quiet():
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def _of_model_type(folder: Path, config: Any) -> Any:
    from transformers import AutoTokenizer

    with quiet():
        return AutoTokenizer.from_pretrained(folder, config=config, trust_remote_code=False, local_files_only=True)


def _is_foreign(name: str) -> bool:
    """Return True if a tokenizer class is not one of transformers, which would then guess how to read it."""
    if name in GENERIC:
        return False
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    stem = name.removesuffix("Fast")
    return all(tokenizer_class_from_name(each) is None for each in (name, stem, f"{stem}Fast"))
