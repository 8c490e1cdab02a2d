"""Rules under models of mdmkit-text: byte-level tokens, special tokens, ends; and under zoo:bigram's words."""

import re

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import mdmkit

SPECIAL = ["<pad>", "<mask>", "<end>", "<other>"]
MORE = ["Ġyes", "no", "Ãł", "ĠÃ", "12", "3.", "Ġ{", '":', "ðŁĺ"]


@pytest.fixture(scope="module")
def backbone():
    """A callable with random logits, which depend on every token, and a byte-level tokenizer."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*letters, *MORE, *SPECIAL])}, merges=[]))
    core.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    names = {"pad_token": "<pad>", "mask_token": "<mask>", "eos_token": "<end>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, clean_up_tokenization_spaces=False, **names)
    count, generator = len(tokenizer), torch.Generator().manual_seed(0)
    table = torch.randn(count, count, generator=generator)
    places = 2 * torch.randn(64, count, generator=generator)

    def model(ids, attention_mask=None):
        known = table[ids] * (ids != tokenizer.mask_token_id)[..., None]
        return places[: ids.shape[1]] + known.sum(1, keepdim=True)

    return mdmkit.wrap(model, tokenizer).backbone


@pytest.mark.parametrize("mode", ["exact", "mask"])
@pytest.mark.parametrize(
    "pattern",
    [
        r'\{"[a-z]{1,3}": \d+(\.\d+)?\}',
        r" ?(yes|no)",
        "[à-ý]{2,3}",
        "😀+|(1|2|3|\\.)*",
        r"[^\x00-\x7f]{1,3}",
        r"\w+ \w+",
    ],
)
def test_every_text_of_a_byte_level_model_matches(backbone, pattern, mode):
    for name, per_step in (("confidence", 1), ("threshold", 4), ("info_gain", 2)):
        sampler = mdmkit.compose(
            name,
            constraint={"name": "regex", "pattern": pattern, "mode": mode},
            plan={"length": 12, "block": 6, "tokens_per_step": per_step},
            draw={"temperature": 1.0},
        )
        for row in mdmkit.decode(sampler, backbone, ["ask", "a longer one"] * 2).rows:
            assert re.fullmatch(pattern, row.text, re.ASCII), (name, row.text)


def test_the_gap_of_an_infill_is_filled_exactly(backbone):
    sampler = mdmkit.compose("confidence", constraint={"name": "regex", "pattern": r"(\d|no)+"})
    (row,) = mdmkit.decode(sampler, backbone, ["a[MASK:3]b"]).rows
    assert re.fullmatch(r"a(\d|no)+b", row.text) and row.stopped == "filled"
    refused = mdmkit.compose("confidence", constraint={"name": "choices", "of": ["yes", "no"]})
    with pytest.raises(mdmkit.MdmkitError, match="no text of 5 tokens keeps choices"):
        mdmkit.decode(refused, backbone, ["a[MASK:5]b"])


def test_a_special_token_between_gaps_has_no_text(backbone):
    special = backbone.tokens.tokenizer.convert_tokens_to_ids("<other>")
    sampler = mdmkit.compose("confidence", constraint={"name": "regex", "pattern": ".*"})
    ids = [65, backbone.mask_id, special, backbone.mask_id]
    with pytest.raises(mdmkit.MdmkitError, match="at position 2"):
        mdmkit.decode(sampler, backbone, [ids])


def test_words_with_spaces_between_them():
    backbone = mdmkit.load("zoo:bigram")
    sampler = mdmkit.compose("confidence", constraint={"name": "choices", "of": ["the king, and", "he said"]})
    rows = mdmkit.decode(sampler, backbone, [{"prompt": "and", "length": n} for n in (2, 4)]).rows
    assert [row.text for row in rows] == ["he said", "the king, and"]
    (row,) = mdmkit.decode(sampler, backbone, ["then _ _ to them"]).rows
    assert row.text == "then he said to them"
