"""The full-attention MDM families: the reference's logits and decodes, any batch, and what a config may not ask for."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from checkpoints import GOLDEN, changed
from safetensors.torch import load_file, save_file

import mdmkit
from mdmkit import MdmkitError, Plan, Prompt, Sampler
from mdmkit.testing import BackboneContract, ByConfidence, LeastEntropyLeft, Spread, TakeQuota
from mdmkit_text.backbone import TextBackbone
from mdmkit_text.families.llada import LLaDA

if TYPE_CHECKING:
    from collections.abc import Callable

# Of these formats only LLaDA-MoE's config does not name the mask; its usual id is beyond this tiny vocabulary.
OPTIONS: dict[str, dict[str, Any]] = {"llada": {}, "dream": {}, "lladamoe": {"mask_id": 125}}
NATIVE = {"llada": "LlamaForCausalLM", "dream": "Qwen2ForCausalLM", "lladamoe": "Qwen3MoeForCausalLM"}
PROMPTS = [
    {"prompt_ids": [11, 25, 83, 27, 94], "length": 6},
    {"prompt_ids": [7], "length": 9},
    {"prompt_ids": [125, 40, 125, 125, 9, 31, 77, 125, 2, 3, 4, 5]},  # an infill, whose first position is open
    {"prompt_ids": [60, 61, 62], "length": 1},
]
CONFIDENCE = [
    case
    for case in json.loads((GOLDEN / "llada" / "traces.json").read_text())["cases"]
    if case["sampler"] == "confidence"
    and case["params"].get("cache", "none") == "none"
    and not case["params"].get("cfg_scale")
]


@functools.cache
def golden(name: str) -> TextBackbone:
    return TextBackbone.load(str(GOLDEN / name), **OPTIONS[name])


@torch.inference_mode()
def logits(backbone: TextBackbone, tokens: torch.Tensor, padding: int = 0) -> torch.Tensor:
    length = tokens.shape[1]
    tokens = torch.nn.functional.pad(tokens, (0, padding), value=3)
    positions = torch.arange(length + padding).expand_as(tokens)
    hidden = backbone.forward(tokens, positions < length, None, positions=positions).hidden
    return backbone.project(hidden)[:, :length]


@pytest.mark.parametrize("name", OPTIONS)
def test_logits_equal_the_reference(name: str) -> None:
    data = load_file(GOLDEN / name / "logits.safetensors")
    expected = data["logits"]
    if name == "dream":  # stored as the head gives them; the reference then moves them, position 0 keeping its own
        expected = torch.cat((expected[:, :1], expected[:, :-1]), 1)
    assert type(golden(name).network.model).__name__ == NATIVE[name]
    assert golden(name).network.split
    assert (logits(golden(name), data["input_ids"]) - expected).abs().max() <= 1e-5
    assert expected.abs().max() > 5


@pytest.mark.parametrize("padding", [1, 4])
@pytest.mark.parametrize("name", OPTIONS)
def test_padding_does_not_leak_not_even_into_the_last_position(name: str, padding: int) -> None:
    tokens = load_file(GOLDEN / name / "logits.safetensors")["input_ids"]
    assert (logits(golden(name), tokens, padding) - logits(golden(name), tokens)).abs().max() <= 1e-5


@pytest.mark.parametrize("case", CONFIDENCE, ids=lambda c: f"{c['params']}-{len(c['prompt'])}")
def test_llada_decodes_as_the_reference_does(case: dict[str, Any]) -> None:
    sizes = case["params"]
    plan = Plan(length=sizes["gen_length"], block=sizes["block_length"], steps=sizes["steps"])
    decoded = mdmkit.decode(Sampler(ByConfidence(), TakeQuota(), plan=plan), golden("llada"), [case["prompt"]])
    assert decoded.tokens[0] == case["output"]
    assert decoded.nfe["rows"] == case.get("nfe", sizes["steps"])


def test_every_such_case_is_tried() -> None:
    assert len(CONFIDENCE) == 16


SAMPLERS = {
    "confidence": Sampler(ByConfidence(), TakeQuota(), plan=Plan(block=4)),
    "lookahead": Sampler(ByConfidence(), Spread(4), LeastEntropyLeft(), plan=Plan(block=4)),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", OPTIONS)
def test_alone_together_and_shuffled_decode_to_the_same(name: str, sampler: str) -> None:
    def decode(prompts: list[dict[str, Any]]) -> list[Any]:
        return mdmkit.decode(SAMPLERS[sampler], golden(name), prompts).rows

    seeded = [prompt | {"seed": i} for i, prompt in enumerate(PROMPTS)]
    order = [2, 0, 3, 1]
    shuffled = decode([seeded[i] for i in order])
    for i, row in enumerate(decode(seeded)):
        for other in (decode([seeded[i]])[0], shuffled[order.index(i)]):
            assert (other.tokens, other.nfe) == (row.tokens, row.nfe)
            assert other.uncertainty == pytest.approx(row.uncertainty, abs=1e-5)


class TestContract(BackboneContract):
    prompts = PROMPTS

    @pytest.fixture(params=OPTIONS)
    def backbone(self, request: pytest.FixtureRequest) -> Any:
        return golden(request.param)


def refused(ref: Path | str, pattern: str, **options: Any) -> None:
    with pytest.raises(MdmkitError, match=pattern) as caught:
        TextBackbone.load(str(ref), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("llada", "block_type", "sequential"),
        ("llada", "layer_norm_type", "default"),
        ("llada", "activation_type", "swiglu"),
        ("llada", "rope", False),
        ("llada", "alibi", True),
        ("llada", "include_bias", True),
        ("llada", "include_qkv_bias", True),
        ("llada", "bias_for_layer_norm", True),
        ("llada", "attention_layer_norm", True),
        ("llada", "input_emb_norm", True),
        ("llada", "scale_logits", True),
        ("llada", "layer_norm_with_affine", False),
        ("llada", "block_group_size", 2),
        ("llada", "clip_qkv", 8.0),
        ("llada", "rope_scaling", {"type": "linear", "factor": 2}),
        ("dream", "use_sliding_window", True),
        ("dream", "rope_scaling", {"type": "linear", "factor": 2}),
        ("lladamoe", "qk_layernorm", False),
        ("lladamoe", "attention_bias", True),
        ("lladamoe", "clip_qkv", 8.0),
        ("lladamoe", "moe_layer_freq", [0, 1]),
        ("lladamoe", "moe_router_enable_expert_bias", True),
        ("lladamoe", "moe_router_score_function", "sigmoid"),
        ("lladamoe", "partial_rotary_factor", 0.5),
        ("lladamoe", "rope_scaling", {"type": "linear", "factor": 2}),
        ("lladamoe", "routed_scaling_factor", 2.5),
        ("lladamoe", "router_num_group", 2),
        ("lladamoe", "router_topk_group", 2),
        ("lladamoe", "shared_expert_intermediate_size", 16),
    ],
)
def test_a_config_that_the_mapping_does_not_cover_is_refused_by_field(
    name: str, field: str, value: Any, tmp_path: Path
) -> None:
    refused(
        changed(name, tmp_path, **{field: value}), rf"has values that family \w+ does not cover: {field} is .*covered:"
    )


def test_a_field_whose_absence_means_something_else_has_to_be_there(tmp_path: Path) -> None:
    folder = changed("llada", tmp_path, block_type=..., alibi=..., rope=...)
    refused(
        folder,
        r'cover: block_type is absent \(covered: "llama"\); rope is absent \(covered: true\)\. Its',
    )


@pytest.mark.parametrize(("name", "field"), [("llada", "d_model"), ("lladamoe", "expert_intermediate_size")])
def test_a_size_that_is_missing_is_named_with_the_directory(name: str, field: str, tmp_path: Path) -> None:
    refused(changed(name, tmp_path, **{field: ...}), rf"{name}': config\.json must give {field} as a whole number")


def test_lladas_sizes_that_follow_from_others_are_worked_out() -> None:
    config = json.loads((GOLDEN / "llada" / "config.json").read_text())
    sizes = {"embedding_size": None, "mlp_hidden_size": None, "n_kv_heads": None}
    _, native = LLaDA().native(config | sizes)
    assert (native.vocab_size, native.intermediate_size, native.num_key_value_heads) == (128, 4 * 32, 4)
    _, native = LLaDA().native(config | sizes | {"multi_query_attention": True, "weight_tying": True})
    assert (native.num_key_value_heads, native.tie_word_embeddings) == (1, True)


def test_weights_are_renamed_across_shards(tmp_path: Path) -> None:
    folder = changed("llada", tmp_path)
    weights = load_file(folder / "model.safetensors")
    index = {}
    for number, names in enumerate((sorted(weights)[::2], sorted(weights)[1::2])):
        save_file({name: weights[name] for name in names}, folder / f"model-{number}.safetensors", {"format": "pt"})
        index |= dict.fromkeys(names, f"model-{number}.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    loaded, whole = (TextBackbone.load(str(f)).network.model.state_dict() for f in (folder, GOLDEN / "llada"))
    assert all(torch.equal(loaded[name], whole[name]) for name in whole)
    assert torch.equal(
        loaded["model.layers.1.mlp.down_proj.weight"], weights["model.transformer.blocks.1.ff_out.weight"]
    )


@pytest.mark.parametrize(
    ("name", "lost", "native"),
    [
        ("llada", "model.transformer.blocks.1.attn_out.weight", r"model\.layers\.1\.self_attn\.o_proj\.weight"),
        ("dream", "model.layers.0.self_attn.q_proj.bias", r"model\.layers\.0\.self_attn\.q_proj\.bias"),
        ("lladamoe", "model.layers.1.mlp.experts.3.up_proj.weight", r"a layer's experts\) are incomplete"),
    ],
)
def test_a_weight_that_is_missing_is_never_made_up(name: str, lost: str, native: str, tmp_path: Path) -> None:
    folder = changed(name, tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    refused(folder, native, **OPTIONS[name])


def test_the_usual_mask_serves_only_where_the_vocabulary_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(GOLDEN / "lladamoe", "no known mask token")
    monkeypatch.setattr("mdmkit_text.families.llada_moe.LLaDAMoE.mask_id", 120)
    assert TextBackbone.load(str(GOLDEN / "lladamoe")).mask_id == 120
    # iLLaDA's mask is not LLaDA's, under the same model_type.
    refused(changed("llada", tmp_path, mask_token_id=...), "no known mask token")


def test_a_family_is_forced_by_name(tmp_path: Path) -> None:
    folder = changed("llada", tmp_path, model_type="my-llada", architectures=["MyLLaDA"])
    refused(
        folder,
        r"unknown model_type .my-llada..*and the model types llada, mmada, lladamoe, llada_moe, llada2_moe, ",
    )
    backbone = mdmkit.load(f"llada:{folder}")
    assert isinstance(backbone, TextBackbone)
    assert torch.equal(backbone.network.model.lm_head.weight, golden("llada").network.model.lm_head.weight)
    refused(f"masked_lm:{folder}", "cannot be of family masked_lm: unknown model_type 'my-llada'")
    of_dream = "cannot be of family {}: its config.json is that of family dream, which loads it if no family is named"
    for name in ("decoder", "masked_lm"):
        refused(f"{name}:{GOLDEN / 'dream'}", of_dream.format(name))
    refused(f"dream:{folder}", "config.json must give hidden_size as a whole number of at least 1, and gives null")
    refused("llada:nowhere", "there is no directory 'nowhere'")


def test_a2d_is_its_base_models_class_without_the_causal_mask(build: Callable[..., Path]) -> None:
    folder = build("qwen3")
    same = TextBackbone.load(str(folder))
    config = json.loads((folder / "config.json").read_text())
    del config["is_causal"]
    (folder / "config.json").write_text(json.dumps(config))
    forced = TextBackbone.load(f"decoder:{folder}")
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "a2d-qwen3"}))
    a2d = TextBackbone.load(str(folder))
    assert (a2d.family.name, type(a2d.network.model).__name__) == ("a2d", "Qwen3ForCausalLM")
    tokens = torch.tensor([[5, 6, 4, 4, 9]])
    for other in (forced, a2d):
        assert torch.equal(logits(other, tokens), logits(same, tokens))


def with_tokenizer(folder: Path, *, file: bool) -> Path:
    """Put 128 one-word tokens beside a checkpoint, as a class that only the checkpoint's own code knows."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [f"w{i}" for i in range(124)] + ["<|im_end|>", "<|mask|>", "<|endoftext|>", "w127"]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w127"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"mask_token": "<|mask|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    remote = {
        "tokenizer_class": "DreamTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(names | remote))
    (folder / "tokenization_dream.py").write_text("raise SystemExit('this ran')")
    (folder / "vocab.json").write_text(json.dumps(core.get_vocab()))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    if file:
        core.save(str(folder / "tokenizer.json"))
    return folder


def test_a_tokenizer_of_the_checkpoints_own_code_is_read_from_its_file(tmp_path: Path) -> None:
    backbone = TextBackbone.load(str(with_tokenizer(changed("dream", tmp_path), file=True)))
    canvas, _ = backbone.encode([Prompt(text="w1 w2", length=4)], Plan())
    assert canvas.tokens.tolist() == [[1, 2, 125, 125, 125, 125]]
    filled = canvas.filled(canvas.open, torch.tensor([[1, 2, 7, 8, 124, 9]]))
    assert backbone.decode(filled) == ["w7 w8"], "<|im_end|> ends an answer"
    twice = canvas.filled(canvas.open, torch.tensor([[1, 2, 7, 124, 8, 124]]))
    assert backbone.decode(twice) == ["w7"], "the first of two"
    assert backbone.forbidden == [125]


def test_without_that_file_ids_work_and_a_text_is_told_why_not(tmp_path: Path) -> None:
    backbone = TextBackbone.load(str(with_tokenizer(changed("dream", tmp_path), file=False)))
    assert backbone.encode([Prompt(ids=(1, 2), length=1)], Plan())[0].tokens.tolist() == [[1, 2, 125]]
    with pytest.raises(
        MdmkitError, match=r"prompt 5 is a text, and .*checkpoint \(DreamTokenizer\), which is never run"
    ):
        backbone.encode([Prompt(text="w1", index=5, length=1)], Plan())


@pytest.mark.parametrize("name", OPTIONS)
def test_half_precision_is_padded_and_split_too(name: str) -> None:
    backbone = TextBackbone.load(str(GOLDEN / name), dtype="bfloat16", **OPTIONS[name])
    assert backbone.network.model.dtype == torch.bfloat16
    assert (backbone.network.split, backbone.network.padded) == (True, True)
