"""One token per residue, as a standard transformers fast tokenizer.

The mask is `<mask>` or `_`. `X` and `*`, an unknown residue, are read as the mask too, as in Sapiens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerFast

# fairseq puts these before the symbols of the dictionary file; its masked-language task adds the mask at the end.
FIRST = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"


def vocabulary(residues: Sequence[str]) -> list[str]:
    """Every symbol in the order of its id."""
    return [*FIRST, *residues, MASK]


def build_tokenizer(symbols: Sequence[str]) -> PreTrainedTokenizerFast:
    """Build the tokenizer: white space is dropped, `_` becomes `<mask>`, the chain is wrapped in `<s>` and `</s>`.

    A character that is not a residue raises an error; `<unk>` must be written in full.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {symbol: i for i, symbol in enumerate(symbols)}
    core = Tokenizer(models.WordLevel(ids, unk_token=""))
    core.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(r"\s+"), ""), normalizers.Replace(Regex("[_X*]"), MASK)]
    )
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        # Matched after normalisation, so that a `_` turned into `<mask>` is found.
        mask_token=AddedToken(MASK, normalized=True, special=True),
        padding_side="left",
        model_max_length=144,
        clean_up_tokenization_spaces=False,
    )
