"""Counting: markup is stripped, pairs never cross a word outside the vocabulary, the same text gives the same files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mdmkit import MdmkitError
from mdmkit_zoo.bigram.backbone import Bigram
from mdmkit_zoo.bigram.build import build, clean, runs

MODULE = (
    '<title type="psalm">A title.</title> Psalms 4:1: <w savlm="strong:H1">Hear</w> <w>my</w> '
    '<w>voice</w><note placement="foot"></note><w>Yah</w>,<l eID="g1"/><l level="2"/>now.\n'
    'Revelation of John 22:21: Amen. <div sID="g" type="glossary"/> A word list.\n(engWEB2015eb)\n'
)


def test_markup_titles_verse_numbers_and_glossary_go() -> None:
    assert clean(MODULE).split() == ["Hear", "my", "voice", "Yah,", "now.", "Amen."]


def test_plain_text_stays_as_it_is() -> None:
    assert clean("At 4:1 odds, he said: go.") == "At 4:1 odds, he said: go."


def test_runs_end_at_a_word_outside_the_vocabulary() -> None:
    assert runs(["x", "a", "b", "x", "x", "b", "a", "x"], {"a", "b"}) == [["a", "b"], ["b", "a"]]


def test_build_counts_and_loads(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The cat saw the dog. The dog saw “the rare” cat.")
    folder = build(text, tmp_path / "out", words=5)
    assert (folder / "vocabulary.txt").read_text().split() == ["the", ".", "cat", "dog", "saw"]
    counts = load_file(folder / "counts.safetensors")
    assert counts["unigram"].tolist() == [4, 2, 2, 2, 2]
    pairs = torch.stack((counts["first"].int(), counts["second"].int(), counts["count"]), 1).tolist()
    # `the rare cat` leaves neither (the, rare) nor (rare, cat), nor a false (the, cat).
    assert pairs == [[0, 2, 1], [0, 3, 2], [1, 0, 1], [2, 1, 1], [2, 4, 1], [3, 1, 1], [3, 4, 1], [4, 0, 2]]
    assert Bigram.load(str(folder)).words == ["the", ".", "cat", "dog", "saw"]
    again = build(text, tmp_path / "again", words=5)
    for name in ("counts.safetensors", "vocabulary.txt", "mdmkit.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_a_text_too_small_or_absent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("too few words")
    with pytest.raises(MdmkitError, match="has 3 different words and marks, fewer than the 2000"):
        build(tmp_path / "text.txt", tmp_path / "out")
    with pytest.raises(MdmkitError, match=r"absent\.txt"):
        build(tmp_path / "absent.txt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_device_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdmkit.whole_file.MOST", 1 << 20)
    with pytest.raises(MdmkitError, match=r"/dev/zero .* gives more than 1 MiB"):
        build(Path("/dev/zero"), tmp_path / "out")


def test_the_ends_of_lines_are_the_same_for_every_system(tmp_path: Path) -> None:
    made = []
    for name, end in (("unix", b"\n"), ("windows", b"\r\n"), ("mac", b"\r")):
        text = tmp_path / name
        text.write_bytes(end.join([b"The cat saw", b"the dog."]))
        made.append((build(text, tmp_path / f"{name}-out", words=5) / "counts.safetensors").read_bytes())
    assert made[0] == made[1] == made[2]
