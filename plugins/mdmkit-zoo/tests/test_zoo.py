"""The zoo finds its models by name, says what it lacks, and lists itself without torch."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import mdmkit
from mdmkit import MdmkitError
from mdmkit_zoo import catalogue
from mdmkit_zoo.cli import zoo
from mdmkit_zoo.zoo import Zoo


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(
        MdmkitError, match=r"'bigramm'. Did you mean 'bigram'\? Known: antibody, bigram, digits, puzzles"
    ):
        Zoo.load("bigramm")


def test_no_path_is_taken_for_a_model_of_the_zoo() -> None:
    assert not Zoo.accepts("puzzles")
    assert not Zoo.accepts("zoo/puzzles")


def test_an_absent_model_says_how_to_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.ENTRIES, "ghost", replace(catalogue.ENTRIES["puzzles"], name="ghost"))
    with pytest.raises(MdmkitError, match=r"zoo:ghost is not in this installation.*mdmkit zoo train puzzles"):
        Zoo.load("ghost")


def test_a_decode_of_the_puzzles_imports_no_transformers() -> None:
    code = (
        "import sys\nfrom mdmkit.cli import main\n"
        "try:\n    main(['decode', '--model', 'zoo:puzzles', '--device', 'cpu', '--prompt', '3*7=_______'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'transformers', 'transformers.modeling_utils', 'torch._dynamo', 'sympy', 'huggingface_hub'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3*7=0010101" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_bigram_takes_no_options() -> None:
    with pytest.raises(MdmkitError, match="unknown option of zoo:bigram 'colour'"):
        Zoo.load("bigram", colour="red")


def test_text_models_are_loaded_by_whichever_backbone_reads_their_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(mdmkit, "load", lambda ref, **options: calls.append((ref, options)))
    Zoo.load("antibody", device="cpu", dtype="float32", extra=1)
    folder = str(catalogue.ENTRIES["antibody"].folder)
    assert calls == [(folder, {"device": "cpu", "dtype": "float32", "extra": 1})]


def test_the_list_names_every_model() -> None:
    result = CliRunner().invoke(zoo, ["list"])
    assert result.exit_code == 0
    for line in ("zoo:antibody     2.3 MB", "zoo:bigram       0.7 MB", "zoo:puzzles"):
        assert line in result.output


def test_listing_imports_no_torch() -> None:
    program = (
        "import sys, mdmkit_zoo.plugin as p; p.mdmkit_backbone(); p.mdmkit_command();"
        "from mdmkit_zoo.cli import zoo; zoo(['list'], standalone_mode=False);"
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_train_writes_a_model_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mdmkit_zoo.puzzles import train

    seen = {}

    def stub(output, recipe, *, device, report):
        seen.update(output=output, steps=recipe.steps, device=device)
        report(0, 1.5)

    monkeypatch.setattr(train, "train", stub)
    result = CliRunner().invoke(zoo, ["train", "puzzles", "--output", str(tmp_path / "new"), "--steps", "3"])
    assert result.exit_code == 0, result.output
    assert seen == {"output": tmp_path / "new", "steps": 3, "device": "cpu"}


@pytest.mark.parametrize("command", [["train", "puzzles"], ["build", "bigram", "x"], ["convert", "antibody", "x"]])
def test_a_directory_in_use_is_never_written_over(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = CliRunner().invoke(zoo, [*command, "--output", str(tmp_path)])
    assert isinstance(result.exception, MdmkitError)
    assert "exists and is not empty" in str(result.exception)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_build_through_the_command_line(tmp_path: Path) -> None:
    words = " ".join(f"w{i} w{i % 7}" for i in range(2100))
    (tmp_path / "text.txt").write_text(words)
    result = CliRunner().invoke(zoo, ["build", "bigram", str(tmp_path / "text.txt"), "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "counts.safetensors",
        "mdmkit.json",
        "vocabulary.txt",
    ]
