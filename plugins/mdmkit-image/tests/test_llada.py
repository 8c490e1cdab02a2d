"""MMaDA and Lumina-DiMOO end to end on tiny random weights in LLaDA's format."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).parent))
import tiny
from safetensors.torch import load_file, save_file

import mdmkit
from mdmkit import MdmkitError, Plan
from mdmkit.testing import BackboneContract
from mdmkit_image.trunk import Trunk

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
SPECIALS = ("<|t2i|>", "<|soi|>", "<|eoi|>", "<system>", "</system>", "<user>", "</user>", "<uncondition>", "<answer>")
SPECIALS += ("</answer>", "<IMAGE>", "</IMAGE>", "<end-of-line>", "[MASK]")


def write(folder: Path, codes: int) -> Path:
    """A checkpoint in LLaDA's format: its ids are 14 special ones, a few letters, then the codes."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = ["<bos>", "<eos>", "?", *"abcdefghij "]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*SPECIALS, *letters])}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "?"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=list(SPECIALS), **names)
    fast.save_pretrained(folder)
    size, mask = len(fast) + codes, SPECIALS.index("[MASK]")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    names = {"self_attn.q_proj": "q_proj", "self_attn.k_proj": "k_proj", "self_attn.v_proj": "v_proj"}
    names |= {"self_attn.o_proj": "attn_out", "input_layernorm": "attn_norm", "post_attention_layernorm": "ff_norm"}
    names |= {"mlp.gate_proj": "ff_proj", "mlp.up_proj": "up_proj", "mlp.down_proj": "ff_out"}
    weights = {}
    for key, value in model.state_dict().items():
        for ours, theirs in {
            **names,
            "model.layers.": "model.transformer.blocks.",
            "lm_head": "model.transformer.ff_out",
        }.items():
            key = key.replace(ours, theirs)
        key = key.replace("model.embed_tokens", "model.transformer.wte").replace("model.norm", "model.transformer.ln_f")
        weights[key] = value.contiguous()
    save_file(weights, folder / "model.safetensors")
    told = {"model_type": "llada", "d_model": 16, "n_layers": 2, "n_heads": 2, "mlp_hidden_size": 24}
    told |= {"embedding_size": size, "max_sequence_length": 256, "mask_token_id": mask, "weight_tying": False}
    (folder / "config.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def mmada(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write(tmp_path_factory.mktemp("mmada"), 8192)
    return mdmkit.load(f"mmada:{folder}", device="cpu", vq=str(GOLDEN / "magvitv2"), width=64, height=32)


@pytest.fixture(scope="module")
def lumina(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write(tmp_path_factory.mktemp("lumina"), tiny.CODES)
    tiny.vq_model(lookup=False).save_pretrained(folder / "vqvae")
    ids = len(SPECIALS) + 14
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


def test_the_trunks_logits_are_the_references() -> None:
    trunk = Trunk.load(GOLDEN / "llada", "cpu", torch.float32)
    expected = load_file(GOLDEN / "llada" / "logits.safetensors")
    ids = expected["input_ids"]
    with torch.inference_mode():
        logits = trunk(ids, torch.ones_like(ids, dtype=torch.bool)) @ trunk.head.T
    torch.testing.assert_close(logits, expected["logits"], rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    vq = str(GOLDEN / "magvitv2")
    with pytest.raises(MdmkitError, match=r"no config\.json"):
        mdmkit.load(f"mmada:{tmp_path}", device="cpu", vq=vq)
    folder = write(tmp_path, 5)
    with pytest.raises(MdmkitError, match="image_offset=N"):
        mdmkit.load(f"mmada:{folder}", device="cpu", vq=vq)
    with pytest.raises(MdmkitError, match="lacks vqvae/"):
        mdmkit.load(f"lumina_dimoo:{folder}", device="cpu")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"alibi": True}))
    with pytest.raises(MdmkitError, match="alibi=True"):
        Trunk.load(folder, "cpu", torch.float32)
    (folder / "config.json").write_text(json.dumps(config | {"n_layers": 3}))
    with pytest.raises(MdmkitError, match="weights missing"):
        Trunk.load(folder, "cpu", torch.float32)
