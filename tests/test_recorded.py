"""The record of a run is read and checked in one place; what is damaged is a ValueError that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from damaging import damaged, without_keys

from mdmkit import MdmkitError
from mdmkit.cli.output import write_json
from mdmkit.cli.recorded import Recorded, is_record, read_record, read_replaced, require_contents

CONTENTS = {"backbone": None, "model": {"weights": "1"}, "files": {}}
RUN = {"prompts": {"number": 2, "sha256": "0", "options": ["--infill"]}, "contents": CONTENTS}
WHOLE = {"run": RUN, "waiting": [{"index": 1}], "slots": {"0": 2, "32": 1}, "batch": 4}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl.run.json"


def test_what_was_written_is_read_again(file: Path) -> None:
    write_json("--output", file, WHOLE)
    assert read_record(file) == Recorded(RUN, [{"index": 1}], {0: 2, 32: 1}, 4)
    assert read_replaced(file) == RUN and is_record(file)
    write_json("--output", file, {"run": RUN, "waiting": []})
    assert read_record(file) == Recorded(RUN, [], {}, None)


def test_a_record_of_the_first_edition_is_read_and_refused_where_contents_count(file: Path) -> None:
    """Neither the contents of files nor the options of the prompts are in it."""
    run = {"prompts": {"number": 2, "sha256": "0"}}
    write_json("--output", file, {"run": run, "waiting": []})
    assert read_record(file).run == run and is_record(file)
    with pytest.raises(MdmkitError, match=r"^A is of mdmkit's first edition\. B does not tell .* Go\.$"):
        require_contents(run, "A", "B", "Go.")
    require_contents(RUN, "A", "B")


@pytest.mark.parametrize("name", without_keys(WHOLE))
def test_a_file_without_the_keys_of_a_record_is_none_and_may_be_the_users_own(file: Path, name: str) -> None:
    text, said = without_keys(WHOLE)[name]
    file.write_text(text)
    with pytest.raises(ValueError) as refused:
        read_record(file)
    assert str(refused.value).startswith(said)
    assert not is_record(file)


@pytest.mark.parametrize("name", damaged(WHOLE))
def test_a_damaged_value_is_named_and_the_file_may_be_replaced(file: Path, name: str) -> None:
    text, said = damaged(WHOLE)[name]
    file.write_text(text)
    with pytest.raises(ValueError) as refused:
        read_record(file)
    assert str(refused.value).startswith(said)
    assert is_record(file)


def test_bytes_that_are_no_text_a_folder_and_nothing(file: Path) -> None:
    assert is_record(file) and read_replaced(file) == {}
    with pytest.raises(FileNotFoundError):
        read_record(file)
    file.write_bytes(b"\xff\0")
    with pytest.raises(ValueError, match=r"^it is not JSON$"):
        read_record(file)
    assert not is_record(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(OSError):
        read_record(file)
    assert not is_record(file)


@pytest.mark.parametrize(
    "change", [{"slots": {"0": 0}}, {"waiting": None}, {"batch": "x"}, {"mine": 1}, {"run": {**RUN, "contents": None}}]
)
def test_the_files_of_a_damaged_record_are_known_when_its_rows_are_replaced(file: Path, change: object) -> None:
    write_json("--output", file, {**WHOLE, **change})
    with pytest.raises(ValueError):
        read_record(file)
    assert read_replaced(file)["prompts"] == RUN["prompts"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run": 3}', '{"run": {"prompts": {"number": -1}}}', "[" * 100_000])
def test_where_nothing_is_known_nothing_is_removed(file: Path, text: str) -> None:
    file.write_text(text)
    assert read_replaced(file) == {}
