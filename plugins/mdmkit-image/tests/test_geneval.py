"""`mdmkit image geneval` writes the layout that GenEval's judge reads, and goes on with what is there."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from damaging import damaged, without_keys

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).parent))
import tiny
from PIL import Image

import mdmkit
from mdmkit import MdmkitError
from mdmkit.cli import main

DATA = [
    {"tag": "single_object", "include": [{"class": "cat", "count": 1}], "prompt": "cat"},
    {
        "tag": "counting",
        "include": [{"class": "dog", "count": 2}],
        "exclude": [{"class": "dog", "count": 3}],
        "prompt": "dog",
    },
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "maskgit"
    folder.mkdir()
    return str(tiny.write_maskgit(folder))


@pytest.fixture
def draw(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    Path("m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in DATA))

    def run(*words: str) -> Any:
        fixed = ["--metadata", "m.jsonl", "--output", "out", "--sampler", "confidence", "--set", "draw.temperature=1"]
        line = ["image", "geneval", "--model", model, *fixed, "--set", "plan.steps=3", *words]
        return CliRunner().invoke(main, line)

    return run


def as_the_judge_reads(folder: Path) -> dict[int, tuple[dict[str, Any], list[str]]]:
    """The published judge's walk: folders whose names are digits, their metadata, images whose names are digits."""
    found = {}
    for sub in folder.iterdir():
        if sub.is_dir() and sub.name.isdigit():
            images = [path for path in (sub / "samples").iterdir() if re.match(r"\d+\.png", path.name)]
            for path in images:
                Image.open(path).load()
            found[int(sub.name)] = (json.loads((sub / "metadata.jsonl").read_text()), sorted(p.name for p in images))
    return found


def test_the_judge_finds_every_prompt_and_sample(draw: Any, model: str) -> None:
    done = draw("--samples", "2", "--batch", "3")
    assert done.exit_code == 0, done.output
    names = ["0000.png", "0001.png"]
    assert as_the_judge_reads(Path("out")) == {0: (DATA[0], names), 1: (DATA[1], names)}
    assert sorted(p.name for p in Path("out").iterdir()) == ["00000", "00001", "geneval.run.json"]
    samples = [path.read_bytes() for path in sorted(Path("out").glob("*/samples/*.png"))]
    assert len(set(samples)) == 4
    # The prompt was heard: the first samples of the two are those of their own classes and seeds.
    seed = mdmkit.noise.row_seed(mdmkit.noise.row_seed(0, 1), 0)
    sampler = mdmkit.compose("confidence", draw={"temperature": 1.0}, plan={"steps": 3})
    alone = mdmkit.decode(sampler, mdmkit.load(model, device="cpu"), [{"prompt": "dog", "seed": seed}])
    assert alone.texts[0].tobytes() == Image.open("out/00001/samples/0000.png").tobytes()


def test_whole_samples_are_kept_and_others_drawn_again(draw: Any) -> None:
    assert draw("--samples", "2").exit_code == 0
    before = {path: path.read_bytes() for path in Path("out").glob("*/samples/*.png")}
    cut, kept = Path("out/00000/samples/0001.png"), Path("out/00001/samples/0000.png")
    cut.write_bytes(before[cut][:60])
    stamp = kept.stat().st_mtime_ns
    done = draw("--samples", "3")
    assert done.exit_code == 0, done.output
    assert "3 images of 2 prompts drawn; 3 were there before" in done.output
    assert {path: path.read_bytes() for path in before} == before
    assert kept.stat().st_mtime_ns == stamp
    assert len(list(Path("out").glob("*/samples/*.png"))) == 6


def test_fewer_samples_than_are_there_are_refused(draw: Any) -> None:
    assert draw("--samples", "2").exit_code == 0
    fewer = draw("--samples", "1")
    assert fewer.exit_code == 2
    assert "--samples 1: out/00000/samples/0001.png is of an earlier run with more" in " ".join(fewer.output.split())
    assert draw("--samples", "2").exit_code == 0


def test_another_run_is_refused(draw: Any) -> None:
    assert draw("--samples", "1").exit_code == 0
    other = draw("--samples", "1", "--seed", "5")
    assert other.exit_code == 2 and "seed (0 then, 5 now)" in " ".join(other.output.split())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "holds no prompt"),
        ("[1]", "line 1: it has no text 'prompt'"),
        ('{"prompt": "cat"}', "no text 'tag'"),
        (
            '{"tag": "a", "prompt": "a", "prompt": "b"}',
            "line 1: not JSON (the key 'prompt' stands twice in one object)",
        ),
        ("{", "line 1: not JSON"),
        ('{"tag": "counting", "prompt": "zebra"}', "m.jsonl, line 1"),
    ],
)
def test_bad_metadata_leaves_nothing(draw: Any, line: str, told: str) -> None:
    Path("m.jsonl").write_text(line)
    done = draw()
    assert done.exit_code == 2 and told in " ".join(done.output.split())
    assert not Path("out").exists()


def test_images_of_other_weights_or_of_another_run_at_work_are_refused(draw: Any, model: str) -> None:
    from mdmkit.cli.commands import held

    assert draw("--samples", "1").exit_code == 0
    with held("--output", Path("out")):
        assert "another run is writing it now" in draw("--samples", "1").output
    index = Path(model) / "model_index.json"
    before = index.read_text()
    index.write_text(before + "\n")
    try:
        done = draw("--samples", "1")
    finally:
        index.write_text(before)
    assert done.exit_code == 2 and "the model's files differ (model_index.json)" in " ".join(done.output.split())


def test_a_damaged_record_is_refused_by_what_is_wrong(draw: Any) -> None:
    from mdmkit_image.geneval import Folders, Metadata

    assert draw("--samples", "1").exit_code == 0
    file = Path("out/geneval.run.json")
    record = json.loads(file.read_text())
    folders = Folders(Path("out"), Metadata.read(Path("m.jsonl")), 1)
    for text, said in (without_keys(record) | damaged(record)).values():
        file.write_text(text)
        with pytest.raises(MdmkitError) as refused:
            folders.open(record["run"])
        told = f"out/geneval.run.json is not a record of a run: {said}"
        assert told in str(refused.value) and str(refused.value).endswith("Name another directory.")
    assert "is not a record of a run" in " ".join(draw("--samples", "1").stderr.split())


def test_a_directory_of_something_else_is_refused(draw: Any) -> None:
    Path("out").mkdir()
    Path("out/mine").write_text("x")
    done = draw()
    assert done.exit_code == 2 and "not empty" in done.output
    assert [path.name for path in Path("out").iterdir()] == ["mine"]


def test_a_folder_that_a_file_manager_has_shown_is_empty(draw: Any) -> None:
    Path("out").mkdir()
    Path("out/.DS_Store").write_bytes(b"\0\0\0\1Bud1")
    done = draw("--samples", "1")
    assert done.exit_code == 0, done.output
    assert set(as_the_judge_reads(Path("out"))) == {0, 1}


def test_a_sample_that_is_no_image_is_drawn_again(draw: Any) -> None:
    assert draw("--samples", "1").exit_code == 0
    sample = Path("out/00000/samples/0000.png")
    whole = sample.read_bytes()
    # A PNG of 60,000 x 60,000 pixels: Pillow refuses it with an error that is no OSError.
    sample.write_bytes(whole[:16] + (60_000).to_bytes(4, "big") * 2 + whole[24:])
    done = draw("--samples", "1")
    assert done.exit_code == 0, done.output
    assert sample.read_bytes() == whole


def test_a_model_that_draws_nothing_is_refused(draw: Any) -> None:
    done = draw("--model", "zoo:puzzles")
    assert done.exit_code == 2 and "zoo:puzzles draws no images" in " ".join(done.output.split())


def test_every_option_is_on_the_command_line_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    section = page.split("## mdmkit image geneval\n")[1].split("\n## ")[0]
    group = main.get_command(click.Context(main), "image")
    assert isinstance(group, click.Group)
    options = {option for param in group.commands["geneval"].params for option in param.opts}
    assert set(re.findall(r"^\| `(--[a-z-]+)", section, re.M)) == options
