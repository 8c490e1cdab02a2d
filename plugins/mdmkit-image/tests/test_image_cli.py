"""`mdmkit decode` with a model that draws: one PNG, a sheet, numbered files and their rows, pictures of the order."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).parent))
import tiny
from PIL import Image

from mdmkit.cli import main
from mdmkit.cli.filing import Filing


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "maskgit"
    folder.mkdir()
    return str(tiny.write_maskgit(folder))


@pytest.fixture
def decode(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Any:
        line = ["decode", "--model", model, "--sampler", "confidence", "--set", "plan.steps=4", "--no-live", *words]
        return CliRunner().invoke(main, line)

    return run


def test_one_prompt_is_one_png(decode: Any, tmp_path: Path) -> None:
    done = decode("--prompt", "cat", "--output", "cat.png")
    assert done.exit_code == 0, done.output
    assert Image.open("cat.png").size == (8, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]
    again = decode("--prompt", "cat", "--output", "cat.png")
    assert again.exit_code != 0 and "--overwrite" in again.output


def test_suffixes_may_be_upper_case(decode: Any, tmp_path: Path) -> None:
    done = decode("--prompt", "cat", "--output", "cat.PNG", "--trace", "t.PNG")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.PNG", "t.PNG", "t.gif"]
    assert Image.open("cat.PNG").format == Image.open("t.PNG").format == "PNG"
    assert decode("--prompt", "cat", "--prompt", "dog", "--output", "two.PNG").exit_code == 0
    assert Path("two.jsonl").is_file() and Path("two-0001.png").is_file()


def test_a_grid_is_one_sheet_and_a_trace_two_pictures(decode: Any, tmp_path: Path) -> None:
    done = decode(
        "--prompt", "cat", "--prompt", "dog", "--prompt", "8", "--grid", "--output", "s.png", "--trace", "t.png"
    )
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.png", "t.gif", "t.png"]
    assert Image.open("s.png").size == (2 * 128 + 4, 2 * 128 + 4)
    film = Image.open("t.gif")
    assert film.n_frames == 5  # before the first step, and after each of the four
    film.seek(0)
    assert film.convert("RGB").getpixel((64, 64)) == pytest.approx((90, 90, 110), abs=3)  # all open
    colours = Image.open("t.png").crop((0, 0, 128, 128)).getcolors()
    assert len(colours) == 4  # as many as steps
    assert sum(count for count, _ in colours) == 128 * 128


def test_a_batch_is_numbered_and_goes_on_where_it_stopped(decode: Any, tmp_path: Path) -> None:
    prompts = ["cat", "dog", "8", "cat"]
    Path("p.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    words = ("--prompts", "p.jsonl", "--batch", "2", "--set", "draw.temperature=1")
    assert decode(*words, "--output", "whole.png").exit_code == 0
    rows = [json.loads(line) for line in Path("whole.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == [f"whole-{i:04}.png" for i in range(4)]
    assert decode(*words, "--output", "cut.jsonl").exit_code == 0
    lines = Path("cut.jsonl").read_text().splitlines(keepends=True)
    Path("cut.jsonl").write_text("".join(lines[:1]))
    before = [Path(f"cut-{i:04}.png").read_bytes() for i in range(4)]
    for i in (2, 3):
        Path(f"cut-{i:04}.png").unlink()
    done = decode(*words, "--output", "cut.jsonl", "--resume")
    assert done.exit_code == 0, done.output
    assert "3 rows" in done.output and "1 rows were there before" in done.output
    assert Path("cut.jsonl").read_text().splitlines(keepends=True) == lines
    assert [Path(f"cut-{i:04}.png").read_bytes() for i in range(4)] == before
    assert [Path(f"whole-{i:04}.png").read_bytes() for i in range(4)] == before


def test_pictures_of_a_run_that_is_replaced_are_removed_by_its_record(decode: Any, tmp_path: Path) -> None:
    three = ("--prompt", "cat", "--prompt", "dog", "--prompt", "8")
    assert decode(*three, "--output", "out.png").exit_code == 0
    for own in ("out-0003.png", "out-0002.jpg"):
        Path(own).write_text("not of this run")
    assert decode(*three[:4], "--output", "out.png", "--overwrite").exit_code == 0
    left = {"out-0000.png", "out-0001.png", "out.jsonl", "out.jsonl.run.json"}
    assert {path.name for path in tmp_path.iterdir()} == left | {"out-0003.png", "out-0002.jpg"}
    # A text run of that name had no pictures: files that look like its own are not.
    record = json.loads(Path("out.jsonl.run.json").read_text())
    del record["run"]["files"]
    Path("out.jsonl.run.json").write_text(json.dumps(record))
    assert decode(*three[:2], *three[:2], "--output", "out.jsonl", "--overwrite").exit_code == 0
    assert Path("out-0003.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "--output FILE.png"),
        (("--output", "a.json"), "FILE.jsonl for the rows"),
        (("--output", "c.png", "--trace", "c.gif"), "FILE.png for a picture, with .gif beside it"),
        (("--output", "a.jpg"), "writes .png files"),
        (("--output", "a.jsonl", "--grid"), "one sheet"),
        (("--output", "a.png", "--resume"), "nothing to continue"),
        (("--output", "a.png", "--trace", "b.png"), "b.gif"),
        (("--output", "a.jsonl", "--prompt", "dog"), "a-0001.png exists"),
    ],
)
def test_what_is_refused_leaves_nothing(decode: Any, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    Path("b.gif").write_text("in the way")
    Path("a-0001.png").write_text("in the way")
    done = decode("--prompt", "cat", *words)
    assert done.exit_code != 0
    assert told in " ".join(str(done.output).split()), done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-0001.png", "b.gif"]


def test_a_sheet_of_texts_is_refused() -> None:
    done = CliRunner().invoke(main, ["decode", "--grid", "--prompt", "7*8=_______", "--no-live"])
    assert done.exit_code != 0
    assert "rows of zoo:puzzles are texts" in " ".join(done.output.split())


THREE = ("--prompt", "cat", "--prompt", "dog", "--prompt", "8")


@pytest.mark.parametrize("words", [THREE[:2], (*THREE, "--grid"), ("--prompts", "one.jsonl")])
def test_one_picture_or_a_sheet_that_replaces_a_numbered_run_leaves_none_of_its_files(
    decode: Any, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert decode(*THREE, "--output", "out.png").exit_code == 0
    Path("out-0003.png").write_text("not of this run")
    Path("one.jsonl").write_text('"cat"')
    beside = {path.name for path in tmp_path.iterdir()}
    # Nothing is removed without --overwrite, and nothing before the new file is there.
    assert decode(*words, "--output", "out.png", "--set", "guidance.scale=nan", "--overwrite").exit_code != 0
    assert {path.name for path in tmp_path.iterdir()} == beside
    done = decode(*words, "--output", "out.png", "--overwrite")
    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir()} == {"out.png", "out-0003.png", "one.jsonl"}


def test_without_overwrite_a_sheet_stands_beside_the_pictures(decode: Any, tmp_path: Path) -> None:
    assert decode(*THREE, "--output", "out.png").exit_code == 0
    before = {path.name for path in tmp_path.iterdir()}
    assert decode(*THREE, "--grid", "--output", "out.png").exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == before | {"out.png"}


def test_numbered_pictures_that_replace_one_picture_leave_it_not(decode: Any, tmp_path: Path) -> None:
    assert decode(*THREE[:2], "--output", "out.png").exit_code == 0
    assert decode(*THREE, "--output", "out.png").exit_code == 2
    assert decode(*THREE, "--output", "out.png", "--overwrite").exit_code == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"out-{i:04}.png" for i in range(3)]


@pytest.mark.parametrize("name", ["out.png", "out-0001.png"])
def test_a_pipe_or_a_device_is_not_replaced_by_a_picture(decode: Any, name: str) -> None:
    os.mkfifo(name)
    Path("p.jsonl").write_text('"cat"\n"dog"\n')
    words = ("--prompt", "cat") if name == "out.png" else ("--prompts", "p.jsonl")
    done = decode(*words, "--output", "out.png", "--overwrite")
    assert done.exit_code == 2 and name in done.stderr and "is not a regular file" in done.stderr
    assert Path(name).is_fifo()


def test_a_run_of_texts_beside_a_picture_is_no_run_of_pictures(decode: Any, tmp_path: Path) -> None:
    for name in ("out.jsonl", "out-0000.png"):
        Path(name).write_text("mine")
    assert decode(*THREE[:2], "--output", "out.png", "--overwrite").exit_code == 0
    assert (Path("out.jsonl").read_text(), Path("out-0000.png").read_text()) == ("mine", "mine")


def test_a_record_with_a_damaged_number_is_replaced_too(
    decode: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pictures are found in the folder: so many names cannot be tried."""
    assert decode(*THREE, "--output", "out.png").exit_code == 0
    own = {"out-00002.png", "out-2.png", "out-0002.png.png", "another-0002.png"}
    for name in own:
        Path(name).write_text("mine")
    path, tries = Filing.path, iter(range(100))
    monkeypatch.setattr(Filing, "path", lambda self, index: next(tries) < 100 and path(self, index))
    for words, left in ((THREE[:4], 2), (THREE[:2], 0)):
        record = json.loads(Path("out.jsonl.run.json").read_text())
        record["run"]["prompts"]["number"] = 10**18
        Path("out.jsonl.run.json").write_text(json.dumps(record))
        done = decode(*words, "--output", "out.png", "--overwrite")
        assert done.exit_code == 0, done.output
        assert [found.name for found in sorted(tmp_path.glob("out-????.png"))] == [
            f"out-{i:04}.png" for i in range(left)
        ]
    assert {found.name for found in tmp_path.iterdir()} == own | {"out.png"}


def test_a_file_of_rows_that_nobody_named_is_replaced_only_if_a_run_left_it(decode: Any, tmp_path: Path) -> None:
    Path("out.jsonl").write_text("mine")
    refused = decode(*THREE, "--output", "out.png", "--overwrite")
    assert refused.exit_code == 2
    assert "go into out.jsonl, and there is no record of a run beside that file" in " ".join(refused.output.split())
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"] and Path("out.jsonl").read_text() == "mine"
    assert decode(*THREE, "--output", "out.jsonl", "--overwrite").exit_code == 0  # it is named
    assert decode(*THREE, "--output", "out.png", "--overwrite").exit_code == 0  # it is of a run
    Path("new.jsonl").touch()  # a kill may leave it
    assert decode(*THREE, "--output", "new.png", "--overwrite").exit_code == 0


@pytest.mark.parametrize("spoilt", ["deleted", "cut", "text", "size", "end", "byte", "GIF", "JPEG"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_kept_row_whose_picture_is_lost_is_decoded_again(
    decode: Any, tmp_path: Path, spoilt: str, finished: bool
) -> None:
    Path("p.jsonl").write_text("\n".join(map(json.dumps, ["cat", "dog", "8", "cat", "dog"])))
    words = ("--prompts", "p.jsonl", "--batch", "1", "--set", "draw.temperature=1", "--output", "out.jsonl")
    assert decode(*words).exit_code == 0
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    rows = Path("out.jsonl").read_text().splitlines(keepends=True)
    if not finished:  # rows 0 to 2, and row 4, which waits
        Path("out.jsonl").write_text("".join([*rows[:3], rows[4]]))
    for index in (1, 4):
        path = Path(f"out-{index:04}.png")
        if spoilt == "deleted":
            path.unlink()
        elif spoilt == "size":
            Image.new("L", (9, 8)).save(path)
        elif spoilt == "end":
            path.write_bytes(path.read_bytes()[:-12])
        elif spoilt == "byte":
            path.write_bytes(path.read_bytes()[:-1])
        elif spoilt in ("GIF", "JPEG"):
            Image.open(path).convert("L").save(path, format=spoilt)
        else:
            path.write_bytes(path.read_bytes()[:70] if spoilt == "cut" else b"hello")
    done = decode(*words, "--resume")
    assert done.exit_code == 0, done.output
    assert "The file of rows 1, 4 is missing or damaged: decoding again." in done.output
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole
    again = decode(*words, "--resume")
    assert again.exit_code == 0 and "damaged" not in again.output


def test_an_input_that_the_run_would_replace_or_remove_is_refused(decode: Any, tmp_path: Path) -> None:
    assert decode(*THREE, "--output", "out.png").exit_code == 0
    for name in ("out-0000.png", "./out-0002.png"):
        done = decode(*THREE[:4], "--image", name, "--output", "out.png", "--overwrite")
        assert done.exit_code == 2
        assert f"prompt 0: its image is {name}, and --output out.png would replace or" in " ".join(done.output.split())
    same = decode(*THREE[:2], "--image", "out-0000.png", "--output", "out-0000.png", "--overwrite")
    assert same.exit_code == 2
    for free in ("new.png", "out.png"):  # the second stands beside the pictures
        assert decode(*THREE[:2], "--image", "out-0000.png", "--output", free).exit_code == 0
