"""The puzzle model's character tokenizer, as a standard transformers fast tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdmkit_zoo.puzzles.texts import ALPHABET, MASK

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD = "<pad>"
VOCABULARY = [PAD, MASK, *ALPHABET]
PAD_ID, MASK_ID = 0, 1


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character; `_` is the mask token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({c: i for i, c in enumerate(VOCABULARY)}))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, mask_token=MASK, clean_up_tokenization_spaces=False
    )
