"""What each token of a tokenizer adds to a text, beside what the tokenizer decodes."""

import random

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from mdmkit_text.texts import texts_of

WORDS = ["▁the", "▁cat", "s", "▁", "é", "▁<", ">", "a", "Ġthe", "Ġ", "Ã", "©", "Ċ", "##ed", "ðŁ", "ĺ", "Ģ"]
BYTES = ["<0x41>", "<0xC3>", "<0xA9>"]
SENTENCEPIECE = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)
MARKS, BYTE, FUSE, STRIP = (
    decoders.Replace("▁", " "),
    decoders.ByteFallback(),
    decoders.Fuse(),
    decoders.Strip(" ", 1, 0),
)
READ = {
    "byte level": (decoders.ByteLevel(), False),
    "fuse": (decoders.Fuse(), False),
    "metaspace": (decoders.Metaspace(), True),
    "metaspace, nothing before": (decoders.Metaspace(prepend_scheme="never"), False),
    "sentencepiece": (SENTENCEPIECE, True),
    "marks, then bytes": (decoders.Sequence([MARKS, BYTE]), False),
    "two kinds of marks, one of them a byte's": (
        decoders.Sequence([MARKS, decoders.Replace("<0x41>", "Ġ"), decoders.Replace("Ġ", "_"), BYTE, FUSE]),
        False,
    ),
}
NOT_READ = {
    "word pieces": decoders.WordPiece(),
    "none": None,
    "metaspace, and a token with two marks": decoders.Metaspace(),
    "a pattern": decoders.Sequence([decoders.Replace(Regex("[xy]"), " "), decoders.Fuse()]),
    "spaces left out of each token": decoders.Sequence([MARKS, BYTE, STRIP, FUSE]),
    "spaces left out of each token, which are not joined": decoders.Sequence([MARKS, BYTE, STRIP]),
    "spaces left out before marks are spaces": decoders.Sequence([FUSE, STRIP, MARKS]),
    "bytes that may be a mark": decoders.Sequence([BYTE, MARKS, FUSE, STRIP]),
    "bytes of the whole text": decoders.Sequence([MARKS, FUSE, BYTE, STRIP]),
    "marks of two tokens": decoders.Sequence([FUSE, decoders.Replace("sa", " ")]),
    "two spaces left out": decoders.Sequence([MARKS, FUSE, STRIP, STRIP]),
}


def _tokenizer(decoder, words=(), **options):
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*WORDS, *words, *BYTES, "<mask>"])}, "<mask>"))
    core.add_special_tokens([AddedToken("<mask>", special=True)])
    core.add_tokens([AddedToken("plain added", special=False)])
    if decoder is not None:
        core.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=core, mask_token="<mask>", **options)


@pytest.mark.parametrize("name", READ)
def test_texts_join_to_what_the_tokenizer_decodes(name):
    decoder, drops = READ[name]
    words = () if name == "metaspace" else ["▁▁x"]
    tokenizer, rng = _tokenizer(decoder, words, clean_up_tokenization_spaces=False), random.Random(0)
    count = len(tokenizer)
    texts, drops_space = texts_of(tokenizer, count + 2)
    assert drops_space == drops
    assert texts[tokenizer.mask_token_id] is None and texts[count:] == [None, None]
    whole = 0
    for _ in range(400):
        ids = [rng.randrange(count) for _ in range(rng.randint(1, 4))]
        try:
            joined = b"".join(texts[i] or b"" for i in ids).decode()
        except UnicodeDecodeError:
            continue
        whole += 1
        assert tokenizer.decode(ids, skip_special_tokens=True) == (joined.removeprefix(" ") if drops else joined), ids
    assert whole > 100


@pytest.mark.parametrize("name", NOT_READ)
def test_a_decoder_of_another_kind_has_no_texts(name):
    assert texts_of(_tokenizer(NOT_READ[name], ["▁▁x"], clean_up_tokenization_spaces=False), 30) == ([], False)


def test_a_tokenizer_that_cleans_up_has_no_texts():
    assert texts_of(_tokenizer(decoders.Fuse(), clean_up_tokenization_spaces=True), 30) == ([], False)


def test_without_a_tokenizer_there_are_no_texts():
    assert texts_of(None, 30) == ([], False)
