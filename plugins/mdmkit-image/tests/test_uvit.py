"""aMUSEd and class-conditional models: the same numbers as diffusers' own pipeline, and the laws of every backbone."""

from __future__ import annotations

import json
import math
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

import mdmkit
from mdmkit import MdmkitError, Observer, Plan
from mdmkit.decoding.recipe import recipe_of
from mdmkit.loop.whole import fill_canvas
from mdmkit.testing import BackboneContract

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).parent))
import tiny

from mdmkit_image.amused import Amused
from mdmkit_image.layout import index_of
from mdmkit_image.maskgit import MaskGit

STEPS = {"steps": 5, "schedule": "cosine"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    (root / "maskgit").mkdir()
    return {"amused": tiny.write_amused(root / "amused"), "maskgit": tiny.write_maskgit(root / "maskgit")}


@pytest.fixture(scope="module")
def amused(folders: dict[str, Path]) -> Any:
    return mdmkit.load(str(folders["amused"]), device="cpu")


@pytest.fixture(scope="module")
def maskgit(folders: dict[str, Path]) -> Any:
    return mdmkit.load(str(folders["maskgit"]), device="cpu")


class TestAmused(BackboneContract):
    prompts: ClassVar[Any] = ("a red cat", "x", "")
    plan: ClassVar[Plan] = Plan(steps=4, schedule="cosine")

    @pytest.fixture
    def backbone(self, amused: Any) -> Any:
        return amused


class TestMaskGit(BackboneContract):
    prompts: ClassVar[Any] = ("cat", "1", "8")
    plan: ClassVar[Plan] = Plan(steps=4, schedule="cosine")

    @pytest.fixture
    def backbone(self, maskgit: Any) -> Any:
        return maskgit


class Listener(Observer):
    """Keeps the logits and the canvas of every step."""

    reads = ("written",)

    def __init__(self) -> None:
        self.logits: list[torch.Tensor] = []
        self.window: Any = None

    def on_step(self, step: Any, actions: Any, choice: Any) -> None:
        self.logits.append(step.belief.logits)
        self.window = self.window or step.window


def showing(canvas: mdmkit.Canvas, tokens: torch.Tensor) -> mdmkit.Canvas:
    """The canvas with these tokens written, wherever they are not the mask."""
    return canvas.filled(tokens != canvas.mask_id, tokens)


def pipeline(folder: Path) -> Any:
    from diffusers import AmusedPipeline

    made = AmusedPipeline.from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    return made


def test_references_pick_their_backbone(amused: Any, maskgit: Any) -> None:
    assert isinstance(amused, Amused)
    assert isinstance(maskgit, MaskGit)
    assert Amused.accepts("amused/amused-256")
    assert not Amused.accepts("organisation/name") and not MaskGit.accepts("organisation/name")


def test_guided_logits_are_those_of_the_pipelines_own_call(folders: dict[str, Path]) -> None:
    """What the pipeline feeds its transformer in every step, and what that answers, against the loop's belief."""
    theirs, calls = pipeline(folders["amused"]), []
    theirs.transformer.register_forward_hook(lambda module, args, out: calls.append((args[0], out)))
    theirs("a red cat", negative_prompt="dog", num_inference_steps=3, guidance_scale=3.0, output_type="latent")
    ours = mdmkit.load(str(folders["amused"]), device="cpu", negative="dog")
    assert len(calls) == 3
    for tokens, answered in calls:
        free, told = answered.chunk(2)
        expected = (free + 3.0 * (told - free)).flatten(2).transpose(1, 2)
        listener = Listener()
        canvas, conditioning = ours.encode(mdmkit.decoding.prompts.read_prompts(["a red cat"], 0), Plan())
        canvas = showing(canvas, tokens[:1].flatten(1))
        sampler = mdmkit.compose("confidence", guidance={"scale": 3.0}, plan={"steps": 1})
        fill_canvas(sampler, ours, canvas, conditioning, [listener])
        torch.testing.assert_close(
            listener.logits[0][..., : tiny.CODES], listener.window(expected), rtol=1e-5, atol=1e-5
        )
        assert (listener.logits[0][..., tiny.CODES :] == -torch.inf).all()


def test_micro_conditions_reach_the_model(folders: dict[str, Path]) -> None:
    theirs, calls = pipeline(folders["amused"]), []
    theirs.transformer.register_forward_hook(lambda module, args, kw, out: calls.append(kw), with_kwargs=True)
    crop = {"micro_conditioning_crop_coord": (1, 2), "micro_conditioning_aesthetic_score": 4}
    theirs("a", num_inference_steps=1, height=8, width=12, output_type="latent", guidance_scale=1.0, **crop)
    options = {"width": 12, "height": 8, "crop": [1, 2], "aesthetic_score": 4}
    ours = mdmkit.load(str(folders["amused"]), device="cpu", **options)
    _, (hidden, pooled, micro) = ours.encode(mdmkit.decoding.prompts.read_prompts(["a"], 0), Plan())
    assert ours.grid == (4, 6)
    assert torch.equal(micro[:1], calls[0]["micro_conds"])
    torch.testing.assert_close(hidden[:1], calls[0]["encoder_hidden_states"])
    torch.testing.assert_close(pooled[:1], calls[0]["pooled_text_emb"])


def test_codes_give_the_pipelines_pixels(folders: dict[str, Path], amused: Any) -> None:
    theirs = pipeline(folders["amused"])

    def run(kind: str) -> Any:
        generator = torch.Generator().manual_seed(5)
        return theirs("a red cat", num_inference_steps=2, generator=generator, output_type=kind).images

    codes, image = run("latent"), run("pil")[0]
    assert amused.codec.images(codes)[0].tobytes() == image.tobytes()


def test_what_the_text_encoder_does_not_read_is_noted(folders: dict[str, Path], amused: Any) -> None:
    """Its window has 10 tokens: begin, 8 letters, end."""
    sampler = mdmkit.compose("confidence", plan={"steps": 1})

    def notes(model: Any, *texts: str) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            mdmkit.decode(sampler, model, texts)
        return sorted({str(each.message) for each in caught if each.category is mdmkit.MdmkitWarning})

    assert notes(amused, "a b c d e f g h", "") == []
    end = "tokens, and the text encoder reads 10. Its end has no effect"
    assert notes(amused, "a", "a b c d e f g h i j") == [f"prompt 1 has 12 {end}: 'i j'."]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # another process, whose asker has noted it
        unit = mdmkit.Unit(0, tuple(mdmkit.read_prompts(["a b c d e f g h i j"], 0)), 1)
        assert len(mdmkit.decode_unit(recipe_of(sampler, amused), unit).rows) == 1
    long = mdmkit.load(str(folders["amused"]), device="cpu", negative="a " * 700)
    assert notes(long, "a", "b") == [f"the model option negative has 702 {end}: '{('a ' * 100)}…'."]


@pytest.mark.parametrize("name", ["amused", "maskgit"])
def test_save_and_load_give_the_same_images(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    backbone = request.getfixturevalue(name)
    backbone.save(tmp_path)
    if name == "amused":
        shutil.copy(request.getfixturevalue("folders")[name] / "model_index.json", tmp_path)
    again = mdmkit.load(str(tmp_path), device="cpu")
    sampler = mdmkit.compose("confidence", draw={"temperature": 1.0}, plan=STEPS, guidance={"scale": 2.0})
    first, second = (mdmkit.decode(sampler, each, ["dog", "cat"], seed=3) for each in (backbone, again))
    assert first.tokens == second.tokens
    assert [i.tobytes() for i in first.texts] == [i.tobytes() for i in second.texts]


@pytest.mark.parametrize("preset", ["confidence", "info_gain", "entropy_bound"])
def test_rows_are_independent_and_guidance_counts_two(maskgit: Any, preset: str) -> None:
    sampler = mdmkit.compose(preset, draw={"temperature": 1.0}, plan=STEPS, guidance={"scale": 2.5})
    plain = mdmkit.compose(preset, draw={"temperature": 1.0}, plan=STEPS)
    prompts = [{"prompt": name, "seed": i} for i, name in enumerate(("cat", "dog", "8"))]
    together = mdmkit.decode(sampler, maskgit, prompts)
    for prompt, row in zip(prompts, together.rows, strict=True):
        alone = mdmkit.decode(sampler, maskgit, [prompt]).rows[0]
        assert (alone.tokens, alone.nfe) == (row.tokens, row.nfe)
        assert max(row.tokens) < tiny.CODES
    if preset == "confidence":
        assert [row.nfe for row in together.rows] == [
            2 * row.nfe for row in mdmkit.decode(plain, maskgit, prompts).rows
        ]


def test_guidance_moves_away_from_no_class_and_leaves_given_cells_visible(maskgit: Any) -> None:
    """The branch without a prompt is the class row of none, with the same cells shown."""
    cells = [*range(8), *[maskgit.mask_id] * 8]
    canvas, conditioning = maskgit.encode(mdmkit.decoding.prompts.read_prompts([cells], 0), Plan())
    told = maskgit.condition(mdmkit.decoding.prompts.read_prompts(["dog"], 0))

    def logits(conditioning: Any, row: int) -> torch.Tensor:
        chosen = maskgit.select(conditioning, torch.tensor([row]))
        hidden = maskgit.forward(canvas.tokens, canvas.valid, chosen, positions=canvas.positions).hidden
        return maskgit.project(hidden)[..., : tiny.CODES]

    listener = Listener()
    sampler = mdmkit.compose("confidence", guidance={"scale": 4.0}, plan={"steps": 1})
    fill_canvas(sampler, maskgit, canvas, told, [listener])
    free, with_class = logits(told, 1), logits(told, 0)
    guided = listener.window(free + 4 * (with_class - free))
    torch.testing.assert_close(listener.logits[0][..., : tiny.CODES], guided)
    torch.testing.assert_close(free, logits(conditioning, 0))  # a row of ids has no class at all


def test_guidance_grows_with_the_share_that_is_filled(maskgit: Any) -> None:
    """A quarter of the open cells is filled, so the scale is 1 + (5 − 1)/4; in the first step it is 1."""
    prompts = mdmkit.decoding.prompts.read_prompts(["dog"], 0)
    canvas, told = maskgit.encode(prompts, Plan())
    filled = showing(canvas, canvas.tokens.index_fill(1, torch.arange(4), 1))

    def logits(tokens: torch.Tensor, row: int) -> torch.Tensor:
        chosen = maskgit.select(told, torch.tensor([row]))
        return maskgit.project(maskgit.forward(tokens, canvas.valid, chosen, positions=canvas.positions).hidden)

    for state, scale in ((canvas, 1.0), (filled, 2.0)):
        listener = Listener()
        sampler = mdmkit.compose("confidence", guidance={"scale": 5.0, "ramp": True}, plan={"steps": 1})
        fill_canvas(sampler, maskgit, state, told, [listener])
        free, with_class = logits(state.tokens, 1), logits(state.tokens, 0)
        expected = listener.window(free + scale * (with_class - free))[..., : tiny.CODES]
        torch.testing.assert_close(listener.logits[0][..., : tiny.CODES], expected)


def test_given_codes_stay(maskgit: Any) -> None:
    cells = [*range(8), *[maskgit.mask_id] * 8]
    row = mdmkit.decode(mdmkit.compose("confidence"), maskgit, [cells]).rows[0]
    assert row.tokens[:8] == cells[:8]
    assert row.order[:8] == [-1] * 8 and min(row.order[8:]) == 0


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remove", "told"),
    [("model_index.json", "model_index.json"), ("vqvae", "vqvae/"), ("text_encoder", "text_encoder/")],
)
def test_a_directory_that_lacks_something(folders: dict[str, Path], tmp_path: Path, remove: str, told: str) -> None:
    folder = shutil.copytree(folders["amused"], tmp_path / "model")
    shutil.move(folder / remove, tmp_path / "aside")
    with pytest.raises(MdmkitError, match=f"lacks {told}"):
        mdmkit.load(f"amused:{folder}", device="cpu")


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000], ids=["empty", "cut", "list", "deep"])
def test_an_index_that_is_no_object_is_that_of_no_model(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    assert index_of(str(tmp_path)) is None


def test_a_part_that_is_broken(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["maskgit"], tmp_path / "model")
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"\0")
    with pytest.raises(MdmkitError, match="transformer cannot be loaded"):
        mdmkit.load(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("part", "fields", "told"),
    [
        ("transformer", {"num_hidden_layers": 2}, r"missing: transformer_layers\.1\..* and \d+ more\. Missing weights"),
        ("transformer", {"num_hidden_layers": 0}, r"unexpected: transformer_layers\.0\."),
        ("transformer", {"use_bias": True}, "weights in transformer .*missing"),
        ("transformer", {"micro_cond_encode_dim": 5}, "and 5 values of the first make 25. Correct the one"),
        ("transformer", {"sample_size": 10**9}, r"says sample_size=1000000000: it is .* from 1 to 256"),
        ("transformer", {"sample_size": 0}, "says sample_size=0: it is"),
        ("vqvae", {"mid_block_add_attention": True}, r"of a VQModel with vqvae/config\.json; missing: decoder\.mid"),
        ("vqvae", {"layers_per_block": 2}, "weights in vqvae .*missing"),
        ("text_encoder", {"num_hidden_layers": 3}, r"weights in text_encoder .*missing: text_model\.encoder"),
        ("text_encoder", {"num_hidden_layers": 1}, r"unexpected: text_model\.encoder"),
        ("text_encoder", {"projection_dim": 6}, r"the sizes in its config\.json are not those of its weights"),
        ("scheduler", {"mask_token_id": 12}, r"says mask_token_id=12, and the mask of this model is 15, .* Correct"),
        ("scheduler", {"mask_token_id": "x"}, "says mask_token_id='x', and"),
    ],
)
def test_a_config_of_other_weights_is_refused(
    part: str, fields: dict[str, Any], told: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders["amused"], tmp_path / "model")
    file = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    with pytest.raises(MdmkitError, match=told):
        mdmkit.load(str(folder), device="cpu")


def test_positions_that_older_versions_stored_are_no_fault(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["amused"], tmp_path / "model")
    file = folder / "text_encoder" / "model.safetensors"
    more = {"text_model.embeddings.position_ids": torch.arange(10)[None]}
    save_file(load_file(file) | more, file, metadata={"format": "pt"})
    (folder / "scheduler" / "scheduler_config.json").unlink()
    assert mdmkit.load(str(folder), device="cpu").mask_id == tiny.CODES + 3


def test_parts_of_two_models(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["maskgit"], tmp_path / "model")
    tiny.vq_model(codes=7).save_pretrained(folder / "vqvae")
    with pytest.raises(MdmkitError, match=r"among 12 codes, and the VQ model has\s+7"):
        mdmkit.load(str(folder), device="cpu")


def test_a_tokenizer_with_more_ids_than_the_text_encoder_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = shutil.copytree(folders["amused"], tmp_path / "model")
    more = AutoTokenizer.from_pretrained(folder / "tokenizer")
    more.add_tokens(["<more>"])
    more.save_pretrained(folder / "tokenizer")
    told = r"tokenizer has ids up to 54, that of .*<more>.*text encoder has rows for 0 to 53 only"
    with pytest.raises(MdmkitError, match=told):
        mdmkit.load(str(folder), device="cpu")


def test_classes_without_names(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["maskgit"], tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    index["id2label"].pop("2")
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(MdmkitError, match="must name 0 to 2"):
        mdmkit.load(str(folder), device="cpu")


def test_a_prompt_that_is_no_class(maskgit: Any) -> None:
    with pytest.raises(MdmkitError, match=r"prompt 1: unknown class 'horse'.*cat"):
        mdmkit.decode(mdmkit.compose("confidence"), maskgit, ["cat", "horse"])


def test_ids_and_an_image_cannot_both_say_what_is_there(maskgit: Any) -> None:
    prompt = {"prompt_ids": [0] * 16, "inputs": {"image": "in.png"}}
    with pytest.raises(MdmkitError, match="ids of all cells and 'image' are given"):
        mdmkit.decode(mdmkit.compose("confidence"), maskgit, [prompt])


@pytest.mark.parametrize("prompt", [{"prompt": "cat", "length": 3}, [1, 2, 3]])
def test_a_number_of_cells_that_the_grid_does_not_have(maskgit: Any, prompt: Any) -> None:
    with pytest.raises(MdmkitError, match="16 cells"):
        mdmkit.decode(mdmkit.compose("confidence"), maskgit, [prompt])
    with pytest.raises(MdmkitError, match="always have 16 cells"):
        mdmkit.decode(mdmkit.compose("confidence", plan={"length": 5}), maskgit, ["cat"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"width": 9}, "multiple of 2, such as"),
        ({"height": 0}, "at least 1"),
        ({"height": 1}, "at least 2"),
        ({"width": "8"}, "whole number"),
        ({"width": 34, "height": 32}, "272 cells, and the limit for this model is 256, 16 times"),
        ({"width": 10**9}, "limit for this model is 256"),
        ({"crop": 3}, "left and top"),
        ({"crop": [0, math.inf]}, "left and top"),
        ({"aesthetic_score": math.nan}, "it is a number, 6"),
        ({"colour": 3}, "unknown model option 'colour'"),
    ],
)
def test_options_that_make_no_sense(folders: dict[str, Path], options: Any, told: str) -> None:
    with pytest.raises(MdmkitError, match=told):
        mdmkit.load(str(folders["maskgit"]), device="cpu", **options)


def test_options_are_judged_before_weights_are_loaded(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["maskgit"], tmp_path / "model")
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"\0")
    with pytest.raises(MdmkitError, match="width='8'"):
        mdmkit.load(str(folder), device="cpu", width="8")


def test_an_image_of_the_largest_size_is_drawn(folders: dict[str, Path]) -> None:
    model = mdmkit.load(str(folders["maskgit"]), device="cpu", width=32, height=32)
    assert mdmkit.decode(mdmkit.compose("confidence", plan={"steps": 1}), model, ["cat"]).texts[0].size == (32, 32)


def test_without_diffusers_it_says_what_to_install(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MdmkitError, match="pip install mdmkit-image"):
        mdmkit.load(str(folders["maskgit"]), device="cpu")
