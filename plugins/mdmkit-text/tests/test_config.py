"""What a config.json may say in more than one way, leave out, or contradict; and which family reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from checkpoints import GOLDEN, changed
from safetensors.torch import load_file, save_file

import mdmkit
from mdmkit import MdmkitError
from mdmkit_text.backbone import TextBackbone
from mdmkit_text.config import one_form

if TYPE_CHECKING:
    from collections.abc import Callable

OWN = ["llada", "lladamoe", "llada2", "dream", "sdar"]
TOKENS = torch.arange(2, 14)[None]


@torch.inference_mode()
def logits(backbone: TextBackbone, tokens: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    valid = torch.ones_like(tokens, dtype=torch.bool)
    return backbone.project(backbone.forward(tokens, valid, None, positions=positions).hidden)


def load(folder: Path | str, **options: Any) -> TextBackbone:
    return TextBackbone.load(str(folder), **{"mask_id": 125} | options)


def refused(folder: Path | str, pattern: str, **options: Any) -> str:
    with pytest.raises(MdmkitError, match=pattern) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def respelt(name: str, folder: Path, **more: Any) -> Path:
    """A golden checkpoint with its rope settings as transformers 5 writes them."""
    config = json.loads((GOLDEN / name / "config.json").read_text())
    settings: dict[str, Any] = {"rope_type": "default", "rope_theta": config["rope_theta"]}
    if "partial_rotary_factor" in config:
        settings["partial_rotary_factor"] = config["partial_rotary_factor"]
    gone = dict.fromkeys(("rope_theta", "rope_scaling", "partial_rotary_factor"), ...)
    return changed(name, folder, **gone, rope_parameters=settings | more)


@pytest.mark.parametrize("name", OWN)
def test_both_spellings_of_rope_give_the_same_logits(name: str, tmp_path: Path) -> None:
    new, old = load(respelt(name, tmp_path)), load(GOLDEN / name)
    assert torch.equal(logits(new, TOKENS), logits(old, TOKENS))


@pytest.mark.parametrize("scaling", [{"rope_type": "yarn", "factor": 4.0}, {"rope_type": "linear", "factor": 2.0}])
@pytest.mark.parametrize("name", OWN)
def test_scaled_positions_are_refused_in_both_spellings(name: str, scaling: dict[str, Any], tmp_path: Path) -> None:
    pattern = r'does not cover: rope_scaling is \{"factor": .*"rope_type": "(yarn|linear)"\} \(covered: null\)'
    refused(respelt(name, tmp_path / "new", **scaling), pattern)
    refused(changed(name, tmp_path / "old", rope_scaling=scaling), pattern)


def test_another_base_in_the_new_spelling_is_another_model(tmp_path: Path) -> None:
    new = load(respelt("llada", tmp_path / "new", rope_theta=1000.0))
    old = load(changed("llada", tmp_path / "old", rope_theta=1000.0))
    assert torch.equal(logits(new, TOKENS), logits(old, TOKENS))
    assert (logits(new, TOKENS) - logits(load(GOLDEN / "llada"), TOKENS)).abs().max() > 1


def test_two_values_for_one_setting_are_a_contradiction() -> None:
    with pytest.raises(MdmkitError, match=r"rope_theta is 10000\.0, and rope_parameters\.rope_theta is 5\.0\. Keep"):
        one_form({"rope_theta": 10000.0, "rope_parameters": {"rope_theta": 5.0}})
    with pytest.raises(MdmkitError, match=r"contradicts itself: rope_parameters is .*, and rope_scaling is"):
        one_form({"rope_scaling": {"type": "yarn", "factor": 2}, "rope_parameters": {"rope_type": "default"}})
    with pytest.raises(MdmkitError, match=r"must give rope_scaling as an object or null, and gives \[2\]"):
        one_form({"rope_scaling": [2]})
    same = one_form({"rope_theta": 5, "rope_scaling": {"type": "default"}, "rope_parameters": {"rope_theta": 5.0}})
    assert (same["rope_theta"], same["rope_scaling"]) == (5.0, None)


def test_settings_for_each_kind_of_layer_are_left_to_the_class() -> None:
    config = {"rope_theta": 1.0, "rope_parameters": {"full_attention": {"rope_theta": 2.0}}}
    assert one_form(config) == config


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("llada2", "partial_rotary_factor", 0.5),
        ("llada2", "routed_scaling_factor", 2.5),
        ("llada2", "rope_theta", 10000),
        ("llada2", "rms_norm_eps", 1e-5),
        ("lladamoe", "rms_norm_eps", 1e-5),
        ("dream", "rope_theta", 10000),
        ("sdar", "rope_theta", 10000),
        ("llada", "rope_theta", 10000),
    ],
)
def test_an_absent_field_has_the_value_of_the_reference(name: str, field: str, value: Any, tmp_path: Path) -> None:
    absent = load(changed(name, tmp_path / "absent", **{field: ...}))
    given = load(changed(name, tmp_path / "given", **{field: value}))
    assert torch.equal(logits(absent, TOKENS), logits(given, TOKENS))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("llada2", ["use_qk_norm"]),
        ("llada2", ["score_function", "moe_router_enable_expert_bias"]),
        ("llada", ["include_bias"]),
    ],
)
def test_absence_is_no_contradiction(name: str, fields: list[str], tmp_path: Path) -> None:
    absent = load(changed(name, tmp_path, **dict.fromkeys(fields, ...)))
    assert torch.equal(logits(absent, TOKENS), logits(load(GOLDEN / name), TOKENS))
    for field in fields:
        refused(changed(name, tmp_path / field, **{field: "other"}), f'does not cover: {field} is "other"')


def test_the_class_named_in_the_config_decides_before_the_model_type(tmp_path: Path) -> None:
    same = load(GOLDEN / "lladamoe")
    for i, fields in enumerate(({"model_type": "llada"}, {"model_type": "llada", "architectures": ...})):
        backbone = load(changed("lladamoe", tmp_path / str(i), **fields))
        assert backbone.family.name == "llada_moe"
        assert torch.equal(logits(backbone, TOKENS), logits(same, TOKENS))


def test_a_class_and_a_model_type_of_two_families_are_a_contradiction(tmp_path: Path) -> None:
    folder = changed("dream", tmp_path, model_type="Fast_dLLM_Qwen", bd_size=4)
    refused(
        folder, r"architectures \[\"DreamModel\"\] is of family dream, and model_type \"Fast_dLLM_Qwen\" of family fast"
    )
    assert load(f"fast_dllm_v2:{folder}").block == 4
    refused(f"dream:{folder}", "bd_size is 4")
    assert load(f"dream:{changed('dream', tmp_path / 'other', model_type='Fast_dLLM_Qwen')}").block is None


def test_a_refusal_names_the_family_that_would_take_it(tmp_path: Path) -> None:
    refused(
        f"llada:{changed('lladamoe', tmp_path)}", r"does not cover.*that of family llada_moe, .* if 'llada' is left"
    )


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("dream", {"block_size": 4}),
        *((name, {"expand_token_id": 100}) for name in ("dream", "llada", "lladamoe", "llada2", "sdar")),
        *((name, {"block_length": 8}) for name in ("dream", "llada", "lladamoe", "llada2", "sdar")),
        *((name, {"bd_size": 8}) for name in ("dream", "llada", "lladamoe", "llada2", "sdar")),
        ("dream", {"head_dim": 4}),
        ("llada", {"block_size": 4}),
        ("lladamoe", {"norm_topk_prob": True}),
        *(
            (name, fields)
            for name in ("dream", "llada", "lladamoe", "llada2", "sdar")
            for fields in ({"layer_types": ["full_attention", "sliding_attention"]}, {"use_sliding_window": True})
        ),
        ("llada", {"n_kv_heads": 4, "multi_query_attention": True}),
    ],
)
def test_what_would_change_the_computation_is_refused(name: str, fields: dict[str, Any], tmp_path: Path) -> None:
    refused(changed(name, tmp_path, **fields), f"does not cover: {next(iter(fields))} is ")


@pytest.mark.parametrize(("name", "more"), [("dream", " Blocks with logits .*fast_dllm_v2"), ("llada", "$")])
def test_a_length_of_blocks_that_a_family_cannot_honour_has_a_way_out(name: str, more: str, tmp_path: Path) -> None:
    folder = changed(name, tmp_path, block_size=32)
    refused(folder, rf"If block_size only says .* remove it there and give plan\.block\. .* no such models\.{more}")


def test_a_field_that_only_the_class_knows_does_not_reach_it(tmp_path: Path) -> None:
    # Llama's attention would have biases.
    backbone = load(changed("llada", tmp_path, attention_bias=True, mlp_bias=True))
    assert torch.equal(logits(backbone, TOKENS), logits(load(GOLDEN / "llada"), TOKENS))


@pytest.mark.parametrize("settings", [{"rope_type": "default"}, {}])
def test_a_base_that_stands_only_at_the_top_is_read_beside_other_settings(
    settings: dict[str, Any], build: Callable[..., Path]
) -> None:
    path = build("qwen3", text=None) / "config.json"
    config = json.loads(path.read_text())
    config = {key: value for key, value in config.items() if key not in ("rope_parameters", "rope_scaling")}
    found = []
    for more in ({"rope_theta": 500.0}, {"rope_theta": 500.0, "rope_parameters": settings}, {"rope_theta": 9e6}):
        path.write_text(json.dumps(config | more))
        found.append(logits(load(path.parent, mask_id=4), TOKENS))
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


def test_the_models_own_end_comes_before_further_ones(tmp_path: Path) -> None:
    # The first one fills what is left of a row that has ended.
    assert load(changed("llada", tmp_path, eos_token_id=[9, 5, 7])).ends == [9, 5, 7]


def test_one_length_of_blocks_may_have_two_names(tmp_path: Path) -> None:
    size = load(GOLDEN / "sdar").block
    assert load(changed("sdar", tmp_path, block_size=size, block_length=size)).block == size


@pytest.mark.parametrize("fields", [{"block_length": 4}, {"bd_size": 4}, {"expand_token_id": 100}])
@pytest.mark.parametrize("name", ["qwen3", "bert"])
def test_a_class_of_transformers_reads_no_field_of_other_makers(
    name: str, fields: dict[str, int], build: Callable[..., Path]
) -> None:
    path = build(name, text=None) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    refused(path.parent, f"does not cover: {next(iter(fields))} is ", mask_id=4)


@pytest.mark.parametrize(
    ("name", "token"),
    [
        *((name, "<|expand|>") for name in ("dream", "llada", "lladamoe", "llada2", "sdar")),
        *(("llada2", token) for token in ("<|delete|>", "<|split|>")),
    ],
)
def test_a_model_that_inserts_or_deletes_tokens_is_refused_by_its_tokenizer(
    name: str, token: str, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer, models

    folder = changed(name, tmp_path)
    words = {f"w{i}": i for i in range(124)} | {token: 124}
    Tokenizer(models.WordLevel(words, unk_token="w0")).save(str(folder / "tokenizer.json"))
    refused(folder, rf"its tokenizer has the token {token.replace('|', '.')}: a model with it ")


@pytest.mark.parametrize("block", [2, 4])
@pytest.mark.parametrize("kind", ["is_causal", "a2d", "option"])
def test_a_decoder_with_blocks_attends_by_blocks(kind: str, block: int, build: Callable[..., Path]) -> None:
    folder = build("qwen3", text=None)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    fields = {"is_causal": {}, "a2d": {"model_type": "a2d-qwen3"}, "option": {}}[kind]
    sized = {} if kind == "option" else {"block_size": block}
    path.write_text(json.dumps(config | fields | sized))
    options = {"block_length": block} if kind == "option" else {}
    backbone = load(folder, mask_id=4, **options)
    assert (backbone.block, backbone.attention, backbone.cache) == (block, "block", "block")
    row = torch.arange(5, 15)[None]
    # What follows the first block changes nothing in it; what is in it does.
    other = row.clone()
    other[:, block:] = 20
    assert torch.equal(logits(backbone, row)[:, :block], logits(backbone, other)[:, :block])
    other = row.clone()
    other[:, block - 1] = 20
    assert (logits(backbone, row)[:, 0] - logits(backbone, other)[:, 0]).abs().max() > 1e-3


def test_a_length_of_blocks_that_only_the_models_name_gives_is_asked_for(tmp_path: Path) -> None:
    folder = changed("sdar", tmp_path, block_size=...)
    assert load(folder).block == 4
    named = folder.rename(tmp_path / "SDAR-4B-Chat-b32")
    refused(named, r"gives no block_size, and its name says blocks of 32, .*block_length=32, or block_length=4\.")
    assert load(named, block_length=32).block == 32


def test_blocks_and_local_attention_exclude_each_other(build: Callable[..., Path]) -> None:
    refused(
        build("gemma2", text=None), r"layers with local attention \(.*sliding_attention\)", mask_id=4, block_length=4
    )


def test_a_causal_decoder_is_told_of_blocks_and_of_the_shift(build: Callable[..., Path]) -> None:
    folder = build("qwen3", is_causal=True)
    refused(folder, r'"is_causal": false.*"block_size": N.*block_length=N.*dream:, or fast_dllm_v2:')


def test_weights_of_another_kind_are_named(tmp_path: Path) -> None:
    gptq = changed("llada", tmp_path / "gptq", quantization_config={"quant_method": "gptq", "bits": 4})
    refused(gptq, r"its weights are quantised \(gptq\), and family llada .*quantization=int8")
    refused(changed("sdar", tmp_path / "mlx", quantization={"bits": 4, "group_size": 64}), r"quantised \(mlx\)")
    bare = changed("llada", tmp_path / "bare", quantization_config={"bits": 4})
    refused(bare, r'quantised \(config.json says quantization_config: {"bits": 4}\)')
    adapter = changed("llada", tmp_path / "lora")
    (adapter / "config.json").unlink()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}')
    with pytest.raises(
        MdmkitError, match=r"holds an adapter .*LoRA.*its base model some/base \(peft: merge_and_unload"
    ):
        mdmkit.load(str(adapter))


@pytest.mark.parametrize("family", ["llada", "sdar"])
@pytest.mark.parametrize("field", ["quantization_config", "quantization"])
def test_an_empty_quantisation_is_none(tmp_path: Path, family: str, field: str) -> None:
    plain, empty = (
        mdmkit.load(str(changed(family, tmp_path / n, **more))) for n, more in (("a", {}), ("b", {field: {}}))
    )
    prompts = [[5, 6, plain.mask_id, plain.mask_id]]
    first, second = (mdmkit.decode(mdmkit.compose("confidence"), model, prompts).rows[0] for model in (plain, empty))
    assert first.tokens == second.tokens and first.uncertainty == second.uncertainty


@pytest.mark.parametrize("model_type", ["wedlm", "nemotron_labs_diffusion", "sdlm", "diffusion_gemma"])
def test_an_unknown_type_is_not_taken_for_a_model_of_another_field(model_type: str, tmp_path: Path) -> None:
    message = refused(changed("sdar", tmp_path, model_type=model_type, architectures=["X"]), r"wrap it: mdmkit\.wrap")
    assert "Did you mean" not in message
    assert "Did you mean 'sdar_moe'?" in refused(
        changed("sdar", tmp_path / "near", model_type="sdarmoe", architectures=["X"]), "unknown model_type"
    )


def test_ends_stand_in_three_places(build: Callable[..., Path]) -> None:
    folder = build("llama", text={"eos_token": "[SEP]"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": [3, 7]}))
    (folder / "generation_config.json").write_text('{"eos_token_id": [3, 8]}')
    assert load(folder, mask_id=4).ends == [3, 7, 8]
    (folder / "generation_config.json").write_text('{"eos_token_id": 9}')
    assert load(folder, mask_id=4).ends == [3, 7, 9]
    (folder / "generation_config.json").write_text('{"eos_token_id": "9"}')
    refused(folder, r'generation_config\.json must give eos_token_id as a token id, .*and gives "9"', mask_id=4)


@pytest.mark.parametrize(("given", "ends"), [(6, [6]), ([6, 7], [6, 7]), ("7,6", [6, 7])])
def test_ends_can_be_given(given: Any, ends: list[int], build: Callable[..., Path]) -> None:
    folder = build("llama", text={"eos_token": "[SEP]"})
    assert load(folder, mask_id=4, ends=given).ends == ends
    refused(folder, "ends: token id 4 is the mask's", mask_id=4, ends=[4])
    refused(folder, "ends='x': give token ids with commas", mask_id=4, ends="x")


def test_only_decoders_and_models_that_chat_write_an_end(build: Callable[..., Path]) -> None:
    silent = {"eos_token": "[SEP]", "pad_token": "[SEP]"}
    plain = load(build("modernbert", text=silent), mask_id=4)
    assert (plain.ends, 3 in plain.forbidden) == ([], True)
    refused(plain.encoder.ref, "fill masks and write no end token", mask_id=4, ends=[3])


def test_a_masked_language_model_that_chats_ends_where_it_would_pad(build: Callable[..., Path]) -> None:
    talking = {"eos_token": "[SEP]", "pad_token": "[SEP]", "chat_template": "{{ messages[0]['content'] }}"}
    backbone = load(build("modernbert", text=talking), mask_id=4)
    assert (backbone.ends, 3 in backbone.forbidden) == ([3], False)
    assert {0, 1, 2, 4} - {0} <= {*backbone.forbidden}
    canvas = backbone.encode([mdmkit.Prompt(text="ab", length=4)], mdmkit.Plan())[0]
    tokens = canvas.tokens.clone()
    tokens[canvas.open] = tokens.new_tensor([7, 8, 3, 9])
    assert backbone.decode(canvas.filled(canvas.open, tokens)) == ["cd"]


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("llada", "n_layers", 10**9),
        ("llada", "n_layers", 3),
        ("llada", "d_model", 10**6),
        ("llada", "mlp_hidden_size", 10**9),
        ("llada", "embedding_size", 10**9),
        ("lladamoe", "num_experts", 10**6),
        ("lladamoe", "expert_intermediate_size", 10**9),
        ("llada2", "num_experts", 10**6),
        ("llada2", "head_dim", 10**6),
        ("llada2", "moe_intermediate_size", 10**9),
        ("dream", "num_hidden_layers", 10**9),
        ("sdar", "vocab_size", 10**9),
        ("sdar", "head_dim", 10**9),
    ],
)
def test_sizes_that_the_weights_have_not_are_refused_before_anything_is_built(
    name: str, field: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", lambda *args, **kwargs: pytest.fail("built"))
    refused(changed(name, tmp_path, **{field: value}), r"do not belong together")


@pytest.mark.parametrize(
    ("name", "fields", "told"),
    [
        ("llada2", {"n_group": 3}, r"gives n_group as 3, and possible values are 1, 2, 4 with num_experts 8, since"),
        ("llada2", {"n_group": 8}, r"gives n_group as 8, and possible values are 1, 2, 4 with"),
        ("llada2", {"n_group": 10**9}, r"gives n_group as 1000000000, and possible"),
        ("llada2", {"n_group": ...}, r"lacks n_group, whose usual value is 8, and possible values are 1, 2, 4"),
        ("llada2", {"topk_group": 5}, r"gives topk_group as 5, and possible values are 1 to 4 with n_group 4"),
        ("llada2", {"num_experts_per_tok": 5}, r"as 5, and possible values are 1 to 4 with .*n_group 4 and topk_gr"),
        ("llada2", {"topk_group": 1, "num_experts_per_tok": 3}, r"num_experts_per_tok as 3, .* 1 to 2 with"),
        ("lladamoe", {"num_experts_per_tok": 9}, r"num_experts_per_tok as 9, .* 1 to 8 with num_experts 8\."),
    ],
)
def test_a_router_that_could_not_choose_its_experts_is_refused(
    name: str, fields: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", lambda *args, **kwargs: pytest.fail("built"))
    refused(changed(name, tmp_path, **fields), told)


def test_a_router_of_transformers_own_class_is_compared_too(build: Callable[..., Path]) -> None:
    folder = build("qwen3-moe", text=None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_experts_per_tok": 5}))
    refused(folder, r"num_experts_per_tok as 5, .* 1 to 4 with num_(local_)?experts 4\.", mask_id=4)


@pytest.mark.parametrize("fields", [{"n_group": 1, "topk_group": 1}, {"n_group": 2, "topk_group": 1}])
def test_other_groups_that_a_router_can_have_load(fields: dict[str, Any], tmp_path: Path) -> None:
    assert logits(load(changed("llada2", tmp_path, **fields)), TOKENS).isfinite().all()


@pytest.mark.parametrize("block", [257, 10**9, 10**25])
def test_blocks_longer_than_a_row_are_refused(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = load(changed("sdar", tmp_path / "longest", block_size=256))
    assert longest.block == 256
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", lambda *args, **kwargs: pytest.fail("built"))
    told = rf"gives attention by blocks of {block} positions, and a row of this model has at most 256\. Give the"
    assert "its config.json" in refused(changed("sdar", tmp_path, block_size=block), told)
    assert "block_length gives" in refused(changed("sdar", tmp_path / "option"), told, block_length=block)


@pytest.mark.parametrize("block", [4.0, 1e9, 0, True, "4"])
def test_a_block_size_that_is_no_whole_number_is_refused(block: Any, tmp_path: Path) -> None:
    refused(changed("sdar", tmp_path, block_size=block), "config.json must give block_size as a whole number of at")


@pytest.mark.parametrize("name", ["llada2", "sdar", "dream"])
def test_an_activation_that_transformers_does_not_know_is_named_with_its_field(name: str, tmp_path: Path) -> None:
    refused(changed(name, tmp_path, hidden_act="nope"), r"it does not know 'nope' \(hidden_act in config\.json\)")


@pytest.mark.parametrize("name", ["bert", "albert", "modernbert", "esm"])
def test_sizes_of_transformers_own_models_are_compared_too(
    name: str, build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build(name, text=None)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", lambda *args, **kwargs: pytest.fail("built"))
    for field in ("num_hidden_layers", "hidden_size", "vocab_size"):
        path.write_text(json.dumps(config | {field: 10**9 if field != "hidden_size" else 4 * 10**8}))
        refused(folder, "do not belong together", mask_id=4)


def test_a_value_in_an_error_is_cut(tmp_path: Path) -> None:
    message = refused(changed("llada", tmp_path, clip_qkv="x" * 100_000), r"clip_qkv is \"x{100,200}… \(100002 char")
    assert len(message) < 800


def test_stacked_experts_are_compared_with_single_ones(tmp_path: Path) -> None:
    folder = changed("lladamoe", tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.experts.0.down_proj.weight"] = torch.zeros(32, 15)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    refused(folder, r"a layer's experts\) are incomplete, or differ in shape|do not belong together")


def test_the_classes_of_a_classifier_are_not_named_one_by_one(build: Callable[..., Path]) -> None:
    folder = build("bert", text={})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_labels": 10**9}))
    assert TextBackbone.load(str(folder)).vocab > 0


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("bert", {"attention_types": [[["global"], 10**6]]}), ("bert", {"block_repeats": [1, 10**4]})],
)
def test_a_number_in_a_list_that_no_model_has_is_refused(
    kind: str, fields: dict[str, Any], build: Callable[..., Path]
) -> None:
    folder = build(kind)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))
    with pytest.raises(MdmkitError, match="No model has so many of anything"):
        TextBackbone.load(str(folder))
