"""Inpainting and variation: only masked cells change, and what cannot be redrawn is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).parent))
import tiny
from PIL import Image

import mdmkit
from mdmkit import MdmkitError
from mdmkit.cli import main

SIDE = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("models") / "maskgit"
    folder.mkdir()
    return mdmkit.load(str(tiny.write_maskgit(folder)), device="cpu")


@pytest.fixture
def image() -> Image.Image:
    return Image.radial_gradient("L").resize((SIDE, SIDE))


def decode(model: Any, seed: int = 0, **inputs: Any) -> Any:
    sampler = mdmkit.compose("confidence", draw={"temperature": 1.0}, plan={"steps": 3}, guidance={"scale": 2.0})
    return mdmkit.decode(sampler, model, [{"prompt": "cat", "seed": seed, "inputs": inputs}]).rows[0]


def codes_of(model: Any, image: Image.Image) -> list[int]:
    from mdmkit_image.given import _tensor

    return model.codec.encode(_tensor(image)).flatten().tolist()


def test_only_the_cells_under_the_mask_change(model: Any, image: Image.Image) -> None:
    mask = Image.new("L", (SIDE, SIDE))
    mask.putpixel((3, 5), 255)  # one pixel opens its whole cell: row 2, column 1 of 2 x 2 pixels
    mask.paste(255, (0, 0, 4, 2))
    row = decode(model, image=image, mask=mask)
    opened = {0, 1, 2 * 4 + 1}
    assert {i for i, tick in enumerate(row.order) if tick >= 0} == opened
    before = codes_of(model, image)
    assert all(row.tokens[i] == before[i] for i in range(16) if i not in opened)
    assert max(row.tokens) < tiny.CODES
    assert row.text.size == (SIDE, SIDE)


def test_a_mask_opens_what_is_white_and_opaque(model: Any, image: Image.Image, tmp_path: Path) -> None:
    cell = Image.new("L", (SIDE, SIDE))
    cell.paste(255, (6, 0, 8, 2))  # the last cell of the first row
    clear = Image.new("LA", (SIDE, SIDE), (255, 255))
    clear.putalpha(cell)
    deep = Image.fromarray(np.where(np.asarray(cell) > 0, 65535, 300).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    cell.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    for mask in (cell, cell.convert("1"), clear, deep, str(tmp_path / "turned.png")):
        row = decode(model, image=image, mask=mask)
        assert [i for i, tick in enumerate(row.order) if tick >= 0] == [3]


def test_an_image_is_encoded_upright_and_as_it_is_seen(model: Any, image: Image.Image) -> None:
    def kept(given: Any) -> list[int]:
        row = decode(model, image=given, mask=corner)
        return [token for token, tick in zip(row.tokens, row.order, strict=True) if tick < 0]

    corner = Image.new("L", (SIDE, SIDE))
    corner.paste(255, (0, 0, 2, 2))
    tilted = image.copy()
    tilted.paste(0, (0, 0, SIDE, 3))
    right = codes_of(model, tilted)[1:]
    turned = tilted.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6
    assert kept(turned) == right != codes_of(model, turned)[1:]
    hidden = Image.merge("LA", (tilted, Image.new("L", tilted.size, 0)))
    assert kept(hidden) == codes_of(model, Image.new("L", tilted.size, 255))[1:] != right


def test_a_share_of_the_image_is_redrawn_by_the_rows_seed(model: Any, image: Image.Image) -> None:
    def opened(seed: int, **inputs: Any) -> list[int]:
        return [i for i, tick in enumerate(decode(model, seed, image=image, **inputs).order) if tick >= 0]

    assert len(opened(1)) == 10  # ceil(0.6 · 16)
    assert opened(1) == opened(1) != opened(2)
    assert opened(1, strength=1.0) == list(range(16))
    assert len(opened(1, strength=0.001)) == 1
    assert opened(1, strength=np.float32(0.5)) == opened(1, strength=0.5)
    half = Image.new("L", (SIDE, SIDE))
    half.paste(255, (0, 0, SIDE, SIDE // 2))
    some = opened(3, mask=half, strength=0.5)
    assert len(some) == 4
    assert max(some) < 8


def test_the_help_of_decode_tells_the_share_that_is_redrawn_without_a_mask() -> None:
    from mdmkit_image.given import VARIATION

    said = " ".join(CliRunner().invoke(main, ["decode", "--help"], terminal_width=300).output.split())
    assert "--mask FILE White where --image is to be redrawn; without it, a share of all cells is: see" in said
    assert f"(default: 1 under a --mask, {VARIATION} without one)" in said


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"image": Image.new("L", (9, 8))}, r"9 x 8 pixels, and this model's have 8 x 8. Resize"),
        ({"image": Image.new("L", (8, 8)), "mask": Image.new("L", (8, 4), 255)}, "mask has 8 x 4 pixels"),
        ({"image": Image.new("L", (8, 8)), "mask": Image.new("L", (8, 8))}, "black everywhere"),
        ({"image": Image.new("L", (8, 8)), "strength": 0}, "above 0 and at most 1"),
        ({"image": Image.new("L", (8, 8)), "strength": "half"}, "a number above 0 and at most 1, not 'half'"),
        ({"image": Image.new("L", (8, 8)), "strength": float("nan")}, "at most 1, not nan"),
        ({"image": Image.new("L", (8, 8)), "strength": True}, "at most 1, not True"),
        ({"image": Image.new("L", (8, 8)), "strength": 10**900}, r"at most 1, not 10{100,200}…"),
        ({"mask": Image.new("L", (8, 8), 255)}, "give 'image'"),
        ({"image": b""}, r"the image is empty \(0 bytes\)"),
        ({"image": "x" * 5000}, r"the image x{100,200}… .{0,40}cannot be read"),
        ({"image": Image.new("L", (8, 8)), "mask": Image.new("L", (8, 8), 1)}, "brightest pixel has 1 of 255"),
        ({"image": "absent.png"}, "No such file"),
        ({"image": __file__}, "not an image that Pillow can read"),
        ({"picture": "x.png"}, "unknown input 'picture'"),
    ],
)
def test_what_cannot_be_redrawn(model: Any, inputs: Any, told: str) -> None:
    with pytest.raises(MdmkitError, match=told):
        decode(model, **inputs)


@pytest.fixture
def command(model: Any, image: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `mdmkit decode` in a folder with the files in.png, mask.png (white in the first cell) and the model."""
    from click.testing import CliRunner

    from mdmkit.cli import main

    monkeypatch.chdir(tmp_path)
    image.save("in.png")
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (0, 0, 2, 2))
    mask.save("mask.png")
    model.save(tmp_path / "model")

    def run(*words: str, stdin: bytes | None = None) -> Any:
        fixed = ["--model", "model", "--sampler", "confidence", "--no-live", "--json", "--output", "out.png"]
        return CliRunner().invoke(main, ["decode", *fixed, "--overwrite", *words], input=stdin)

    return run


ONE_CELL = '"order": [0, -1, -1'


def test_the_command_line_redraws(command: Any) -> None:
    done = command("--prompt", "cat", "--image", "in.png", "--mask", "mask.png")
    assert done.exit_code == 0, done.output
    assert ONE_CELL in done.stdout and done.stderr == ""
    refused = command("--model", "zoo:puzzles", "--prompt", "7*8=_______", "--image", "in.png")
    assert refused.exit_code == 2
    assert "'image' cannot be given to this model" in " ".join(refused.output.split())
    ids = command("--prompt-ids", "1 2", "--image", "in.png")
    assert "--image is for texts" in " ".join(ids.output.split())


@pytest.mark.parametrize("piped", ["image", "mask"])
def test_a_picture_comes_through_a_pipe(command: Any, piped: str) -> None:
    files = {"image": "in.png", "mask": "mask.png"}
    data = Path(files[piped]).read_bytes()
    named = {**files, piped: "-"}
    done = command("--prompt", "cat", "--image", named["image"], "--mask", named["mask"], stdin=data)
    assert done.exit_code == 0, done.output
    alone = command("--prompt", "cat", "--image", "in.png", "--mask", "mask.png")
    rows, others = (json.loads(run.stdout)["rows"] for run in (done, alone))
    assert rows == others and ONE_CELL in done.stdout


def test_what_a_pipe_cannot_be(command: Any) -> None:
    both = command("--prompt", "cat", "--image", "-", "--mask", "-", stdin=b"x")
    assert both.exit_code == 2 and "both read standard input" in " ".join(both.output.split())
    empty = command("--prompt", "cat", "--image", "-", stdin=b"")
    assert empty.exit_code == 2 and "--image -: standard input is empty" in " ".join(empty.output.split())
    text = command("--prompt", "cat", "--image", "-", stdin=b"hello")
    assert text.exit_code == 2 and "image is not an image that Pillow can read" in " ".join(text.output.split())


def test_files_that_a_file_of_prompts_names_are_beside_it(command: Any) -> None:
    Path("data").mkdir()
    for name in ("in.png", "mask.png"):
        Path(name).rename(Path("data") / name)
    inputs = {"image": "in.png", "mask": str(Path("data/mask.png").absolute())}
    Path("data/p.jsonl").write_text(json.dumps({"prompt": "cat", "inputs": inputs}))
    done = command("--prompts", "data/p.jsonl")
    assert done.exit_code == 0, done.output
    assert ONE_CELL in done.stdout
    Path("data/in.png").rename("in.png")
    gone = command("--prompts", "data/p.jsonl")
    assert gone.exit_code == 2
    assert "data/p.jsonl, line 1: prompt 0: the image data/in.png cannot be read: No such" in " ".join(
        gone.output.split()
    )


def test_what_a_picture_loses_is_one_note_for_all_prompts(command: Any) -> None:
    Image.merge("LA", (Image.open("in.png"), Image.open("mask.png"))).save("clear.png")
    done = command("--prompt", "cat", "--prompt", "dog", "--image", "clear.png", "--mask", "mask.png")
    assert done.exit_code == 0, done.output
    notes = [line for line in done.stderr.splitlines() if line.startswith("Note: ")]
    assert notes == ["Note: the image clear.png has transparent pixels: they are composited on white."]


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (
            {"image": "in.png"},
            "line 2: 'image' is an input of this model, which stands under 'inputs': write",
        ),
        ({"mask": "mask.png"}, "'mask' is an input"),
        ({"strength": 0.3}, 'write "inputs": {"strength": …}. Rename the key if it is one of your own'),
        ({"inputs": {"image": "in.png"}, "strength": 0.3}, "'strength' is an input"),
        ({"strenght": 0.3}, "unknown key 'strenght'. Did you mean 'strength'? It is an input of this model"),
    ],
)
def test_an_input_of_the_model_outside_of_inputs_is_refused(command: Any, own: dict[str, Any], told: str) -> None:
    lines = [{"prompt": "cat", "picture": "in.png"}, {"prompt": "dog", **own}]
    Path("p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = command("--prompts", "p.jsonl")
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())
    assert not list(Path().glob("out*"))


def test_own_keys_that_are_no_input_travel_into_the_row(command: Any) -> None:
    own = {"picture": "in.png", "include": [{"class": "cat"}], "task": 3}
    Path("p.jsonl").write_text(json.dumps({"prompt": "cat", "id": 7, **own}))
    done = command("--prompts", "p.jsonl")
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)["rows"][0]
    assert (row["id"], row["meta"]) == (7, own)


def test_a_model_of_texts_has_no_such_inputs(command: Any) -> None:
    Path("p.jsonl").write_text(json.dumps({"prompt": "7*8=_______", "image": "in.png", "strength": 1}))
    done = command("--model", "zoo:puzzles", "--prompts", "p.jsonl", "--output", "rows.jsonl")
    assert done.exit_code == 0, done.output
    assert json.loads(Path("rows.jsonl").read_text())["meta"] == {"image": "in.png", "strength": 1}
