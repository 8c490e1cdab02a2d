"""Read a plain tokenizer.json with the package `tokenizers` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit_text.jsonfile import read_object

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Classes of transformers that read tokenizer.json without changes.
GENERIC = ("TokenizersBackend", "PreTrainedTokenizerFast")
_NAMES = ("mask_token", "pad_token", "bos_token", "eos_token", "cls_token", "sep_token", "unk_token")
# Settings that change nothing here: no text is cut to a length.
_IGNORED = {"backend", "model_max_length"}
_MORE = ("chat_template.jinja", "special_tokens_map.json", "added_tokens.json")


class PlainTokenizer:
    """The part of transformers' tokenizers that `Tokens`, `Encoder` and `Masks` use.

    Args:
        core: a `tokenizers.Tokenizer`.
        named: special tokens by their names in tokenizer_config.json, such as `mask_token`.
    """

    chat_template = None

    def __init__(self, core: Any, named: dict[str, str]):
        self.backend_tokenizer = core
        for name in _NAMES:
            token = named.get(name)
            setattr(self, name, token)
            setattr(self, f"{name}_id", None if token is None else core.token_to_id(token))

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        return self.backend_tokenizer.get_added_tokens_decoder()

    def get_vocab(self) -> dict[str, int]:
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    def __call__(self, text: str, *, add_special_tokens: bool = True, **more: Any) -> dict[str, list[int]]:
        """Return `input_ids` and `special_tokens_mask` of a text; further keywords change no id."""
        found = self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return {"input_ids": found.ids, "special_tokens_mask": found.special_tokens_mask}

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        return self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    def convert_ids_to_tokens(self, token: int) -> str | None:
        return self.backend_tokenizer.id_to_token(token)


def read_plain_tokenizer(folder: Path) -> PlainTokenizer | None:
    """Read a directory's tokenizer; None if it has a setting for which transformers is needed, such as a template."""
    path = folder / "tokenizer_config.json"
    if not (folder / "tokenizer.json").is_file() or any((folder / name).exists() for name in _MORE):
        return None
    given = read_object(path) if path.is_file() else {}
    settings = {name: value for name, value in given.items() if name not in _IGNORED}
    if settings.pop("tokenizer_class", None) not in GENERIC or settings.pop("clean_up_tokenization_spaces", False):
        return None
    if not all(name in _NAMES and isinstance(value, str) for name, value in settings.items()):
        return None
    from tokenizers import Tokenizer

    core = Tokenizer.from_file(str(folder / "tokenizer.json"))
    core.no_truncation()
    core.no_padding()
    special = {token.content for token in core.get_added_tokens_decoder().values() if token.special}
    return PlainTokenizer(core, settings) if special.issuperset(settings.values()) else None
