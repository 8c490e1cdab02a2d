"""Text to canvas and back: templates, masks in the text, ids that may never be chosen, models without a tokenizer."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mdmkit import MdmkitError, MdmkitWarning, Plan, Prompt
from mdmkit_text.backbone import TextBackbone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENDED = {"eos_token": "[SEP]"}


def encode(backbone: Any, *prompts: Prompt, length: int | None = None) -> Any:
    return backbone.encode(prompts, Plan(length=length))[0]


def test_masks_are_appended_inside_the_template(loaded: Callable[[str], Any]) -> None:
    canvas = encode(loaded("bert"), Prompt(text="abc"), Prompt(text=""), length=2)
    assert canvas.tokens.tolist() == [[2, 5, 6, 7, 4, 4, 3], [2, 4, 4, 3, 0, 0, 0]]
    assert canvas.editable.long().tolist() == [[0, 0, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 0, 0]]
    assert canvas.valid.long().tolist() == [[1] * 7, [1, 1, 1, 1, 0, 0, 0]]
    assert canvas.infill.tolist() == [False, False]


@pytest.mark.parametrize(
    ("text", "before"), [("[CLS]a", [2, 2, 5]), ("[SEP]", [2, 3]), ("a[SEP]", [2, 5, 3]), ("", [2])]
)
def test_special_tokens_written_in_a_text_are_not_the_templates(
    text: str, before: list[int], loaded: Callable[[str], Any]
) -> None:
    assert encode(loaded("bert"), Prompt(text=text, length=1)).tokens.tolist() == [[*before, 4, 3]]


def test_a_tokenizer_written_in_python_has_its_template_too(build: Callable[..., Path]) -> None:
    folder = build("esm", text=None, mask_token_id=24)
    words = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWC", "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(words))
    backbone = TextBackbone.load(str(folder))
    canvas = encode(backbone, Prompt(text="LA", length=1), Prompt(text="L<mask>A"))
    assert canvas.tokens.tolist() == [[0, 4, 5, 24, 2], [0, 4, 24, 5, 2]]
    assert backbone.forbidden == [0, 1, 2, 3, 24, 25, 26, 27]


def test_a_text_that_holds_the_mask_token_is_an_infill(loaded: Callable[[str], Any]) -> None:
    canvas = encode(loaded("bert"), Prompt(text="a[MASK]b[MASK]"), length=9)
    assert canvas.tokens.tolist() == [[2, 5, 4, 6, 4, 3]]
    assert canvas.editable.long().tolist() == [[0, 0, 1, 0, 1, 0]]
    assert canvas.infill.tolist() == [True]


def test_masks_of_a_prompt_that_is_no_infill_stay(loaded: Callable[[str], Any]) -> None:
    canvas = encode(loaded("bert"), Prompt(text="a[MASK]", infill=False, length=1))
    assert canvas.tokens.tolist() == [[2, 5, 4, 4, 3]]
    assert canvas.editable.long().tolist() == [[0, 0, 0, 1, 0]]


def test_ids_are_taken_as_they_are(loaded: Callable[[str], Any]) -> None:
    assert encode(loaded("bert"), Prompt(ids=(9, 4, 7))).tokens.tolist() == [[9, 4, 7]]


def test_what_is_generated_is_shown_without_the_prompt_and_an_infill_whole(loaded: Callable[[str], Any]) -> None:
    backbone = loaded("bert")
    canvas = encode(backbone, Prompt(text="abc", length=2), Prompt(text="a[MASK]c[MASK]"))
    tokens = canvas.tokens.clone()
    tokens[canvas.open] = 15  # k
    assert backbone.decode(canvas.filled(canvas.open, tokens)) == ["kk", "akck"]


def test_a_generated_answer_ends_at_its_end_token(build: Callable[..., Path]) -> None:
    backbone = TextBackbone.load(str(build("llama", text=ENDED)))
    canvas = encode(backbone, Prompt(text="ab", length=4))
    tokens = canvas.tokens.clone()
    tokens[canvas.open] = tokens.new_tensor([7, 8, 3, 9])
    assert backbone.decode(canvas.filled(canvas.open, tokens)) == ["cd"]


def test_specials_and_unused_rows_are_forbidden_and_only_a_decoder_may_end(build: Callable[..., Path]) -> None:
    masked = TextBackbone.load(str(build("bert", text=ENDED)))
    decoder = TextBackbone.load(str(build("llama", text=ENDED)))
    assert masked.forbidden == [0, 1, 2, 3, 4, 25, 26, 27]
    assert decoder.forbidden == [0, 1, 2, 4, 25, 26, 27]


def test_padding_that_is_also_the_end_may_be_chosen_by_a_decoder(build: Callable[..., Path]) -> None:
    backbone = TextBackbone.load(str(build("qwen2", text={"eos_token": "[SEP]", "pad_token": "[SEP]"})))
    assert backbone.pad_id == 3
    assert 3 not in backbone.forbidden


def test_a_tokenizer_file_is_read_as_it_stands(loaded: Callable[[str], Any]) -> None:
    # transformers' own class for qwen2 would add <|endoftext|> as id 25.
    assert len(loaded("qwen2").tokens.tokenizer) == 25


def test_tokens_are_shown_by_name(loaded: Callable[[str], Any]) -> None:
    assert [loaded("bert").render(i) for i in (5, 4)] == ["a", "[MASK]"]


def test_without_a_tokenizer_ids_work_and_texts_are_refused(build: Callable[..., Path]) -> None:
    backbone = TextBackbone.load(str(build("llama", text=None)), mask_id=4)
    canvas = encode(backbone, Prompt(ids=(9, 8), length=2))
    assert canvas.tokens.tolist() == [[9, 8, 4, 4]]
    assert backbone.decode(replace(canvas, tokens=canvas.tokens + 1)) == ["5 5"]
    assert backbone.render(7) == "7"
    assert backbone.forbidden == [0, 2, 4]  # config.json's padding and beginning; its end is allowed
    with pytest.raises(MdmkitError, match=r"prompt 6 is a text.*no tokenizer.*--prompt-ids"):
        encode(backbone, Prompt(text="ab", index=6, length=1))


def test_the_mask_is_the_one_given_else_the_tokenizers_else_the_configs(build: Callable[..., Path]) -> None:
    folder = build("bert", mask_token_id=9)
    with pytest.warns(MdmkitWarning, match="has mask_token_id=9, and the mask of its tokenizer is 4"):
        assert TextBackbone.load(str(folder)).mask_id == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TextBackbone.load(str(folder), mask_id="7").mask_id == 7
        (folder / "tokenizer.json").unlink()
        assert TextBackbone.load(str(folder)).mask_id == 9
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"mask_token_id": [9]}))
        assert TextBackbone.load(str(folder)).mask_id == 9


def test_other_ids_of_the_config_are_the_classes_own(build: Callable[..., Path]) -> None:
    folder = build("llama", text=None)
    config = json.loads((folder / "config.json").read_text())
    more = {"bad_words_ids": [[151643]], "image_token_id": "none"}
    (folder / "config.json").write_text(json.dumps(config | more))
    assert TextBackbone.load(str(folder), mask_id=4).mask_id == 4


@pytest.mark.parametrize("value", ["9", 9.5, True, [9, "8"], {"id": 9}])
@pytest.mark.parametrize("field", ["mask_token_id", "pad_token_id", "bos_token_id", "eos_token_id"])
def test_a_token_id_of_the_config_that_is_no_number_is_refused(
    field: str, value: object, build: Callable[..., Path]
) -> None:
    folder = build("llama", text=None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"mask_token_id": 9, field: value}))
    with pytest.raises(MdmkitError, match=rf"config\.json must give {field} as a token id, a list of them, or null"):
        TextBackbone.load(str(folder))


def test_an_unknown_mask_is_asked_for(build: Callable[..., Path]) -> None:
    folder = build("llama", text=None)
    with pytest.raises(MdmkitError, match=r"no known mask token.*--model-option mask_id=N, or mask_id=N in load"):
        TextBackbone.load(str(folder))
    with pytest.raises(MdmkitError, match=r"mask_id 28 is outside the model's vocabulary of 28 ids"):
        TextBackbone.load(str(folder), mask_id=28)
    with pytest.raises(MdmkitError, match="mask_id='four' is not a token id"):
        TextBackbone.load(str(folder), mask_id="four")


def test_a_row_longer_than_the_models_positions_is_refused(loaded: Callable[[str], Any]) -> None:
    backbone = loaded("roberta")  # 40 positions, of which the first is padding's
    assert encode(backbone, Prompt(text="a" * 30), length=7).tokens.shape == (1, 39)
    with pytest.raises(MdmkitError, match=r"prompt 0 needs 40 positions .* and this model has 39"):
        encode(backbone, Prompt(text="a" * 30), length=8)


def test_a_text_that_the_tokenizer_cannot_read_names_the_prompt(
    build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build("bert")
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"unk_token": "[UNK]"', '"unk_token": "[NONE]"'))
    backbone = TextBackbone.load(str(folder))
    with pytest.raises(MdmkitError, match=r"prompt 3: the model's tokenizer cannot read 'aé'"):
        encode(backbone, Prompt(text="aé", index=3, length=1))
