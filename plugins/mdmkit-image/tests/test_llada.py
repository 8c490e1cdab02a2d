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
from safetensors.torch import load_file

import mdmkit
from mdmkit import MdmkitError, Plan
from mdmkit.cli.contents import contents
from mdmkit.testing import BackboneContract
from mdmkit_image.trunk import Trunk

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"


@pytest.fixture(scope="module")
def mmada(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tiny.write_llada(tmp_path_factory.mktemp("mmada"), 8192)
    return mdmkit.load(f"mmada:{folder}", device="cpu", vq=str(GOLDEN / "magvitv2"), width=64, height=32)


@pytest.fixture(scope="module")
def lumina(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tiny.write_llada(tmp_path_factory.mktemp("lumina"), tiny.CODES)
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
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"alibi": True}))
    with pytest.raises(MdmkitError, match="alibi=True"):
        Trunk.load(folder, "cpu", torch.float32)
    (folder / "config.json").write_text(json.dumps(config | {"n_layers": 3}))
    with pytest.raises(MdmkitError, match="weights are missing"):
        Trunk.load(folder, "cpu", torch.float32)
