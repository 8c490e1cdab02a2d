"""MMaDA and Lumina-DiMOO end to end on tiny random weights in LLaDA's format."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).parent))
import tiny
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

import mdmkit
from mdmkit import MdmkitError, Plan
from mdmkit.cli.contents import contents
from mdmkit.testing import BackboneContract
from mdmkit_image.trunk import Trunk
from mdmkit_image.trunk_config import read_trunk_config

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"


@pytest.fixture(scope="module")
def mmada(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_small("mmada", tiny.write_llada(tmp_path_factory.mktemp("mmada"), 8192))


@pytest.fixture(scope="module")
def lumina(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_small("lumina", tiny.write_llada(tmp_path_factory.mktemp("lumina"), tiny.CODES))


def load_small(kind: str, folder: Path) -> Any:
    if kind == "mmada":
        return mdmkit.load(f"mmada:{folder}", device="cpu", vq=str(GOLDEN / "magvitv2"), width=64, height=32)
    tiny.vq_model(lookup=False).save_pretrained(folder / "vqvae")
    ids = len(tiny.SPECIALS) + 14
    return mdmkit.load(f"lumina_dimoo:{folder}", device="cpu", width=6, height=4, image_offset=ids)


class TestMmada(BackboneContract):
    prompts: ClassVar[Any] = ("abc", "d", "")
    plan: ClassVar[Plan] = Plan(steps=3)

    @pytest.fixture
    def backbone(self, mmada: Any) -> Any:
        return mmada


class TestLumina(BackboneContract):
    prompts: ClassVar[Any] = ("abc", "d", "")
    plan: ClassVar[Plan] = Plan(steps=3)

    @pytest.fixture
    def backbone(self, lumina: Any) -> Any:
        return lumina


@pytest.mark.parametrize("name", ["mmada", "lumina"])
@pytest.mark.parametrize("preset", ["maskgit", "info_gain"])
def test_it_draws_from_the_codebook_only_and_rows_alone(name: str, preset: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    sampler = mdmkit.compose(preset, plan={"steps": 3}, draw={"temperature": 1.0}, guidance={"scale": 3.0})
    prompts = [{"prompt": "abc", "seed": 1}, {"prompt": "d", "seed": 2}]
    rows = mdmkit.decode(sampler, model, prompts).rows
    for prompt, row in zip(prompts, rows, strict=True):
        assert min(row.tokens) >= 0 and max(row.tokens) < model.codec.codes
        assert row.text.size == (model.grid[1] * model.codec.factor, model.grid[0] * model.codec.factor)
        assert mdmkit.decode(sampler, model, [prompt]).rows[0].tokens == row.tokens


def test_the_sequences_are_those_of_the_models(mmada: Any, lumina: Any) -> None:
    def words(model: Any, text: str | None) -> list[str]:
        image, places = model.framed(torch.full((1, model.cells), model.model_mask))
        assert (image[0, places] == model.model_mask).all()
        return model.tokenizer.convert_ids_to_tokens([*model.before(text), *image[0].tolist()])

    cells = ["[MASK]"] * 8
    assert words(mmada, "ab") == ["<|t2i|>", "<bos>", "a", "b", "<eos>", "<|soi|>", *cells, "<|eoi|>"]
    assert words(mmada, None) == ["<|t2i|>", "<bos>", "<eos>", "<|soi|>", *cells, "<|eoi|>"]
    line = ["[MASK]"] * 3 + ["<end-of-line>"]
    tail = ["<answer>", "<IMAGE>", *line, *line, "</IMAGE>", "</answer>"]
    assert words(lumina, "ab")[-len(tail) - 4 :] == ["<user>", "a", "b", "</user>", *tail]
    assert words(lumina, None)[-len(tail) - 3 :] == ["<user>", "<uncondition>", "</user>", *tail]


@pytest.mark.parametrize(
    ("kind", "token"),
    [
        *[("mmada", token) for token in ("<|t2i|>", "<|soi|>", "<|eoi|>")],
        *[("lumina", token) for token in ("<answer>", "</answer>", "<IMAGE>", "</IMAGE>", "<end-of-line>")],
    ],
)
def test_a_special_token_that_is_nowhere_is_named_when_the_model_is_loaded(
    kind: str, token: str, tmp_path: Path
) -> None:
    """Its usual id is beyond the ids of a small model."""
    folder = tiny.write_llada(tmp_path / "model", 8192 if kind == "mmada" else tiny.CODES)
    for file in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
        file.write_text(file.read_text().replace(f'"{token}"', '"<other>"'))
    with pytest.raises(MdmkitError, match=f"lacks the special token {re.escape(token)}. Its usual id is 126"):
        load_small(kind, folder)


def test_a_text_needs_an_end_token(tmp_path: Path) -> None:
    folder = tiny.write_llada(tmp_path / "model", 8192)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token": None}))
    with pytest.raises(MdmkitError, match="names no eos_token"):
        load_small("mmada", folder)


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = tiny.write_llada(tmp_path / "model", tiny.CODES)
    more = AutoTokenizer.from_pretrained(folder)
    size = len(more) + tiny.CODES
    more.add_tokens([f"<more{i}>" for i in range(tiny.CODES + 1)])
    more.save_pretrained(folder)
    told = rf"tokenizer has ids up to {size}, that of .*<more12>.*text model has rows for 0 to {size - 1} only"
    with pytest.raises(MdmkitError, match=told):
        load_small("lumina", folder)


def test_the_trunks_logits_are_the_references() -> None:
    trunk = Trunk.load(GOLDEN / "llada", "cpu", torch.float32)
    expected = load_file(GOLDEN / "llada" / "logits.safetensors")
    ids = expected["input_ids"]
    with torch.inference_mode():
        logits = trunk(ids, torch.ones_like(ids, dtype=torch.bool)) @ trunk.head.T
    torch.testing.assert_close(logits, expected["logits"], rtol=1e-5, atol=1e-5)


def test_the_usual_image_tokenizer_is_among_the_files_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def described() -> dict[str, str]:
        return contents(mdmkit.load(f"mmada:{folder}", device="cpu", width=64, height=32), {}, [])["model"]

    folder = tiny.write_llada(tmp_path / "hub" / "v1", 8192)
    # A folder of the same name as the model's, with a file of the same name.
    usual = tmp_path / "cache" / "v1"
    usual.mkdir(parents=True)
    weights = (GOLDEN / "magvitv2" / "model.safetensors").read_bytes()
    (usual / "model.safetensors").write_bytes(weights)
    fetched = []
    monkeypatch.setattr("mdmkit_image.llada.fetch", lambda ref, revision: fetched.append(ref) or usual)
    before = described()
    assert fetched == ["showlab/magvitv2"]
    assert sum(name.endswith("model.safetensors") for name in before) == 2
    changed = bytearray(weights)
    changed[-1] ^= 1
    (usual / "model.safetensors").write_bytes(bytes(changed))
    after = described()
    assert [name for name in after if after[name] != before[name]] == [str(usual / "model.safetensors")]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    vq = str(GOLDEN / "magvitv2")
    with pytest.raises(MdmkitError, match=r"no config\.json"):
        mdmkit.load(f"mmada:{tmp_path}", device="cpu", vq=vq)
    folder = tiny.write_llada(tmp_path, 5)
    with pytest.raises(MdmkitError, match="image_offset=N"):
        mdmkit.load(f"mmada:{folder}", device="cpu", vq=vq)
    whole = tiny.write_llada(tmp_path / "whole", 8192)
    for options, told in (({"width": 2**20}, "limit for this model is"), ({"mask_id": 10**6}, "mask_id=N")):
        with pytest.raises(MdmkitError, match=told):
            mdmkit.load(f"mmada:{whole}", device="cpu", vq=vq, **options)
    with pytest.raises(MdmkitError, match="lacks vqvae/"):
        mdmkit.load(f"lumina_dimoo:{folder}", device="cpu")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"alibi": True}, "says alibi=True, and LLaDA has False"),
        ({"clip_qkv": 8.0}, r"says clip_qkv=8\.0, and LLaDA must not have it"),
        ({"scale_logits": True}, "scale_logits=True"),
        ({"input_emb_norm": True}, "input_emb_norm=True"),
        ({"block_group_size": 2}, "block_group_size=2, and LLaDA has 1"),
        ({"rope_scaling": {"type": "yarn", "factor": 2}}, "says rope_scaling="),
        (
            {"rope_parameters": {"rope_theta": 5.0}, "rope_theta": 6.0},
            r"contradicts itself: its rope_theta is 6\.0, and rope_parameters\.rope_theta is 5\.0\. Keep the one",
        ),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2}}, "says rope_parameters=.*unscaled"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 5.0}}}, "says rope_parameters=.*every layer"),
        ({"rope_parameters": [5.0]}, r"must give rope_parameters as an object or null, and gives \[5\.0\]"),
        ({"rope_scaling": {"factor": 2.0}}, r"says rope_scaling=.*unscaled.* remove rope_scaling"),
        ({"rope_scaling": {"type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor=0.5"),
        ({"block_size": 4}, "says block_size=4, and LLaDA must not have it"),
        ({"quantization_config": {"bits": 4}}, "says quantization_config="),
        ({"quantization": {"bits": 4}}, "says quantization="),
        ({"expand_token_id": 5}, "says expand_token_id=5, and LLaDA must not have it. Correct config.json if"),
        ({"use_sliding_window": True, "sliding_window": 4}, "use_sliding_window=True.* it says sliding_window=4"),
        ({"sliding_window": 4}, "says sliding_window=4, and LLaDA must not have it"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "says layer_types=.*has .'full_attention', 'full_"),
        ({"layer_types": "sliding_attention"}, "says layer_types='sliding_attention', and LLaDA must not"),
        ({"n_kv_heads": 2, "multi_query_attention": True}, "n_kv_heads as 1, because multi_query_attention is true"),
        ({"n_kv_heads": 1, "multi_query_attention": False}, "n_kv_heads as 2, because multi_query_attention is false"),
        ({"multi_query_attention": "x"}, "multi_query_attention as true, false or null, and gives 'x'"),
        ({"block_type": ...}, "lacks block_type, and LLaDA has 'llama'"),
        ({"rope": ..., "activation_type": None}, "says activation_type=None, and .*'silu'; it lacks rope, and .*True"),
        ({"weight_tying": True}, "two different embeddings .* there is one .* set weight_tying to false"),
        ({"weight_tying": ...}, "two different embeddings"),
        ({"codebook_size": 4096}, "says codebook_size=4096, and the image tokenizer in .* has 8192 codes.*vq=DIR"),
        ({"vocab_size": 10**5}, "must give vocab_size as at most 8220, its embedding_size, and gives 100000"),
        ({"rope_theta": 0}, "must give rope_theta as a number above 0, and gives 0"),
        ({"rope_theta": "x"}, "rope_theta as a number above 0, and gives 'x'"),
        ({"d_model": "16"}, "must give d_model as a whole number of at least 1, and gives '16'"),
        ({"n_heads": 3}, "must give n_heads as a divisor of d_model 16, and gives 3"),
        ({"n_layers": ...}, "must give n_layers as a whole number of at least 1, and lacks it"),
        ({"n_layers": 3}, "says n_layers=3, and the weights have 2 layers"),
        ({"n_layers": 10**9}, "says n_layers=1000000000, and the weights have 2 layers"),
        ({"n_layers": 1}, "weights are missing, or belong"),
        ({"d_model": 10**6}, "the sizes in its config.json are not those of its weights"),
        ({"embedding_size": ...}, "must give vocab_size as a whole number of at least 1, and lacks it"),
        ({"weight_tying": "no"}, "must give weight_tying as true or false"),
        ({"mask_token_id": -1}, "must give mask_token_id as a token id, or null, and gives -1"),
        ({"mask_token_id": "x"}, "mask_token_id as a token id, or null, and gives 'x'"),
        ({"mask_token_id": True}, "mask_token_id as a token id"),
    ],
)
def test_a_config_that_the_trunk_does_not_compute_is_refused_by_field(
    fields: dict[str, Any], told: str, tmp_path: Path
) -> None:
    folder = tiny.write_llada(tmp_path, 8192)
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))
    with pytest.raises(MdmkitError, match=told):
        mdmkit.load(f"mmada:{folder}", device="cpu", vq=str(GOLDEN / "magvitv2"), width=64, height=32)


def test_rope_settings_may_stand_where_transformers_5_writes_them(tmp_path: Path) -> None:
    configs = []
    for name in ("then", "now"):
        folder = tiny.write_llada(tmp_path / name, 8192)
        config = json.loads((folder / "config.json").read_text()) | {"rope_theta": 500.0}
        if name == "now":
            config["rope_parameters"] = {"rope_type": "default", "rope_theta": config.pop("rope_theta")}
        (folder / "config.json").write_text(json.dumps(config))
        configs.append(read_trunk_config(folder))
    assert configs[0] == configs[1]


@pytest.mark.parametrize(
    "fields",
    [
        {"quantization_config": {}, "quantization": {}},
        {"rope_scaling": {}},
        {"rope_scaling": {"rope_type": "default"}},
        {"rope_scaling": {"type": "default", "rope_theta": 10000.0}, "rope_theta": None},
        {"rope_parameters": {}, "rope_scaling": None},
        {"use_sliding_window": False, "sliding_window": 4, "layer_types": ["full_attention"] * 2},
        {"multi_query_attention": False, "n_kv_heads": 2},
        {"multi_query_attention": False, "n_kv_heads": ...},
        {"max_sequence_length": ...},
        {"expand_token_id": None},
        {"codebook_size": 8192},
    ],
)
def test_fields_that_change_nothing_are_let_through(fields: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny.write_llada(tmp_path, 20)
    ids = torch.arange(12)[None]
    valid = torch.ones_like(ids, dtype=torch.bool)
    same = Trunk.load(folder, "cpu", torch.float32)(ids, valid)
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))
    assert torch.equal(Trunk.load(folder, "cpu", torch.float32)(ids, valid), same)


def test_one_embedding_may_be_for_input_and_output(tmp_path: Path) -> None:
    folder = tiny.write_llada(tmp_path, 20)
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"weight_tying": True}))
    head = "model.transformer.ff_out.weight"
    once = {name: weight for name, weight in weights.items() if name != head}
    for each in (once, once | {head: weights["model.transformer.wte.weight"].clone()}):
        save_file(each, folder / "model.safetensors")
        trunk = Trunk.load(folder, "cpu", torch.float32)
        assert torch.equal(trunk.head, weights["model.transformer.wte.weight"])


def test_several_heads_may_share_one_key(tmp_path: Path) -> None:
    folder = tiny.write_llada(tmp_path, 20)
    weights = load_file(folder / "model.safetensors")
    for name in list(weights):
        if name.endswith(("k_proj.weight", "v_proj.weight")):
            weights[name] = weights[name][:8].clone()
    save_file(weights, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    ids, found = torch.arange(12)[None], []
    for fields in ({"multi_query_attention": True}, {"n_kv_heads": 1}):
        (folder / "config.json").write_text(json.dumps(config | fields))
        found.append(Trunk.load(folder, "cpu", torch.float32)(ids, torch.ones_like(ids, dtype=torch.bool)))
    assert torch.equal(found[0], found[1])


def test_the_mask_of_a_config_may_have_the_id_0(tmp_path: Path) -> None:
    folder = tiny.write_llada(tmp_path, 8192)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"mask_token_id": 0}))
    model = mdmkit.load(f"mmada:{folder}", device="cpu", vq=str(GOLDEN / "magvitv2"), width=64, height=32)
    assert model.model_mask == 0
