"""Checkpoints that cannot be decoded with, each told apart and explained; nothing is run, guessed or fetched."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mdmkit import MdmkitError
from mdmkit_text.backbone import TextBackbone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def expect_refused(folder: Path, pattern: str, **options: Any) -> str:
    with pytest.raises(MdmkitError, match=pattern) as caught:
        TextBackbone.load(str(folder), **options)
    assert "\n" not in str(caught.value), "an error is one paragraph"
    return str(caught.value)


def test_missing_weights_are_listed(build: Callable[..., Path]) -> None:
    folder = build("bert")
    change_weights(folder, lambda w: w.pop("bert.encoder.layer.1.output.dense.weight"))
    expect_refused(folder, r"do not fit BertForMaskedLM.*missing: bert\.encoder\.layer\.1\.output\.dense\.weight\.")


def test_unexpected_weights_are_listed(build: Callable[..., Path]) -> None:
    folder = build("llama")
    change_weights(folder, lambda w: w.update({"model.layers.7.extra": torch.zeros(2)}))
    expect_refused(folder, r"unexpected: model\.layers\.7\.extra\.")


def test_weights_of_another_shape_are_listed_with_both_shapes(build: Callable[..., Path]) -> None:
    folder = build("llama")
    change_weights(folder, lambda w: w.update({"model.norm.weight": torch.zeros(31)}))
    expect_refused(folder, r"model\.norm\.weight has \[31\], and config\.json asks for \[32\]")


def test_tied_weights_and_sentence_heads_are_no_fault(build: Callable[..., Path]) -> None:
    folder = build("bert")
    pooler = {"bert.pooler.dense.weight": torch.zeros(32, 32), "cls.seq_relationship.bias": torch.zeros(2)}
    change_weights(folder, lambda w: w.update(pooler))
    assert "cls.predictions.decoder.weight" not in load_file(folder / "model.safetensors")
    assert TextBackbone.load(str(folder)).vocab == 28


def test_weights_that_are_not_numbers_are_found_at_load(build: Callable[..., Path]) -> None:
    folder = build("llama")
    change_weights(folder, lambda w: w["model.norm.weight"].fill_(torch.nan))
    expect_refused(
        folder, r"LlamaForCausalLM gives logits that are not numbers: it has weights .*: model\.norm\.weight\.$"
    )


def test_a_file_cut_short_is_named(build: Callable[..., Path]) -> None:
    path = build("bert") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    expect_refused(path.parent, r"model\.safetensors is not a whole safetensors file.*Fetch it again")


def test_a_missing_shard_is_named(build: Callable[..., Path]) -> None:
    folder = build("bert")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    expect_refused(folder, r"model-00002-of-00002\.safetensors is missing")


def test_a_sharded_checkpoint_loads(build: Callable[..., Path]) -> None:
    folder = build("llama")
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    index: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    assert torch.equal(TextBackbone.load(str(folder)).network.model.lm_head.weight, weights["lm_head.weight"])


def test_pickled_weights_are_refused_with_the_conversion(build: Callable[..., Path]) -> None:
    folder = build("bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    expect_refused(folder, r"only as pickle \(pytorch_model\.bin\).*weights_only=True.*safetensors\.torch\.save_file")


def test_no_weights_at_all_says_which_files_are_looked_for(build: Callable[..., Path]) -> None:
    folder = build("bert")
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    expect_refused(folder, r"neither model\.safetensors nor .*It holds weights\.safetensors; rename")


def test_an_adapter_is_not_a_model(build: Callable[..., Path]) -> None:
    folder = build("llama")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/model"}')
    expect_refused(folder, "holds an adapter")


def test_a_config_that_is_not_json_says_where(build: Callable[..., Path]) -> None:
    folder = build("bert")
    (folder / "config.json").write_text('{"model_type": "bert",\n oops}')
    expect_refused(folder, r"config\.json is not JSON: .* at line 2, column 2")


def test_an_unknown_model_type_has_a_nearest_name_and_code_in_the_checkpoint_never_runs(
    build: Callable[..., Path],
) -> None:
    folder = build("bert")
    (folder / "modeling.py").write_text("raise SystemExit('this ran')")
    change_config(
        folder, model_type="qwen33", auto_map={"AutoConfig": "modeling.C", "AutoModelForMaskedLM": "modeling.M"}
    )
    expect_refused(
        folder,
        r"unknown model_type 'qwen33'\. Did you mean 'qwen3'\?.*\(auto_map\) is never run.*Accepted are.*"
        r"mdmkit\.wrap\(model, tokenizer\)",
    )


def test_code_named_beside_a_known_model_type_is_ignored(build: Callable[..., Path]) -> None:
    folder = build("bert")
    (folder / "modeling.py").write_text("raise SystemExit('this ran')")
    code = {"AutoConfig": "modeling.C", "AutoModelForMaskedLM": "modeling.M", "AutoTokenizer": ["modeling.T", None]}
    change_config(folder, auto_map=code, attn_implementation="some/kernel")
    (folder / "tokenizer_config.json").unlink()  # so that the model type decides on the tokenizer
    backbone = TextBackbone.load(str(folder))
    model = backbone.network.model
    assert type(model).__module__.startswith("transformers.models.bert")
    assert not hasattr(model.config, "auto_map")
    assert model.config._attn_implementation == "sdpa"
    assert type(backbone.tokens.tokenizer).__name__ == "BertTokenizer"


@pytest.mark.parametrize(
    ("model_type", "why"), [("vit", "no masked-language-model class"), (None, "names no model_type")]
)
def test_a_model_of_another_kind_is_told_what_is_accepted(
    model_type: str | None, why: str, build: Callable[..., Path]
) -> None:
    folder = build("bert")
    change_config(folder, model_type=model_type)
    expect_refused(folder, f"{why}.*Accepted are masked language models")


def test_a_config_that_no_model_can_have_is_explained(build: Callable[..., Path]) -> None:
    folder = build("bert")
    change_config(folder, num_attention_heads=5)
    expect_refused(folder, "transformers could not build the model: .*5")


def test_a_broken_tokenizer_is_no_missing_one(build: Callable[..., Path]) -> None:
    folder = build("bert")
    (folder / "tokenizer.json").write_text("{}")
    expect_refused(folder, "the tokenizer does not load")


def test_a_panic_of_the_tokenizers_library_is_a_broken_tokenizer(
    build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Panic(BaseException):  # as tokenizers raises it: no Exception
        pass

    def panics(*arguments: Any, **keywords: Any) -> Any:
        raise Panic("called `Option::unwrap()` on a `None` value")

    monkeypatch.setattr("mdmkit_text.tokens._of_model_type", panics)
    monkeypatch.setattr("mdmkit_text.tokens._plain", panics)
    expect_refused(build("bert", text={}), "the tokenizer does not load: called")


def test_an_unknown_option_is_not_dropped(build: Callable[..., Path]) -> None:
    expect_refused(build("bert"), r"unknown model option 'mask_ids'\. Did you mean 'mask_id'\?", mask_ids=4)


@pytest.mark.parametrize(("dtype", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_half_precision_weights_are_float32_on_a_cpu_unless_asked_otherwise(
    dtype: str, expected: torch.dtype, build: Callable[..., Path]
) -> None:
    folder = build("llama")
    change_weights(folder, lambda w: w.update({name: weight.half() for name, weight in w.items()}))
    backbone = TextBackbone.load(str(folder), dtype=dtype)
    assert backbone.network.model.dtype == expected
    assert backbone.network.split
    assert backbone.network.padded


def test_loading_and_encoding_are_silent(build: Callable[..., Path]) -> None:
    # transformers would warn of the id, of the text's length and of the window, and show a progress bar.
    folder = build("longformer", text={"model_max_length": 4}, eos_token_id=999)
    code = (
        "import sys; from transformers.utils import logging as log; from mdmkit import Prompt\n"
        "from mdmkit_text.backbone import TextBackbone\n"
        "log.set_verbosity_info()\n"
        "TextBackbone.load(sys.argv[1]).encoder.encode(Prompt(text='abcdefghij'))\n"
        "assert log.get_verbosity() == log.INFO and log.is_progress_bar_enabled()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("model_type", ["bert"], "model_type in its config.json must be a text"),
        ("architectures", 3, "architectures in its config.json must be a list"),
        ("architectures", [{}], "architectures in its config.json must be a list"),
    ],
)
def test_a_config_with_values_of_the_wrong_kind_is_refused(
    build: Callable[..., Path], key: str, value: Any, words: str
) -> None:
    folder = build("bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    expect_refused(folder, words)


@pytest.mark.parametrize("weight_map", [{}, {"a": 3}, {"a": "../elsewhere.safetensors"}, None])
def test_an_index_that_names_no_files_here_is_refused(build: Callable[..., Path], weight_map: Any) -> None:
    folder = build("bert")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    expect_refused(folder, "has no usable weight_map")


def test_a_config_nested_without_end_is_refused(build: Callable[..., Path]) -> None:
    folder = build("bert")
    (folder / "config.json").write_text("[" * 100_000)
    expect_refused(folder, "config.json cannot be read")
