"""Automata and tables on disk: the same ones, made once; damage, folders that cannot be written, two writers."""

import dataclasses
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from mdmkit_constrain import apart
from mdmkit_constrain.automaton import of_texts
from mdmkit_constrain.kept import disk
from mdmkit_constrain.kept import tables as kept
from mdmkit_constrain.tables import Arrows, tables_of

TEXTS = (None, b"a", b"b", b"ab", b"ba", b"c", None, None)
GIVEN = TEXTS, (0, 6, 7), (5,), (5,)
AUTOMATON = of_texts(["abc", "ab", "cab", "bb"])
# Tables, and an automaton, in a process of their own; it counts what it makes.
OTHER = """
import json, sys
from mdmkit_constrain import apart
from mdmkit_constrain.kept import tables as kept
counts = {"tables": 0, "automata": 0}
def counted(name, function):
    def call(*given):
        counts[name] += 1
        return function(*given)
    return call
kept.tables_of = counted("tables", kept.tables_of)
apart._maker.make = counted("automata", apart._maker.make)
texts = (None, b"a", b"b", b"ab", b"ba", b"c", None, None)
automaton = apart.of_pattern("(ab|c){1,3}")
tables = kept.tables_for(automaton, texts, (0, 6, 7), (5,), (5,))
print(json.dumps([counts, apart._maker._process is not None, tables.moves.index.tolist()]))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder in which the files are kept; nothing is in memory."""
    monkeypatch.setenv(disk.VARIABLE, str(tmp_path / "kept"))
    kept.tables_for.cache_clear()
    apart.of_pattern.cache_clear()
    yield tmp_path / "kept"
    kept.tables_for.cache_clear()
    apart.of_pattern.cache_clear()


@pytest.fixture
def made(monkeypatch):
    """A list of the tables that were made, and not read."""
    found = []
    monkeypatch.setattr(kept, "tables_of", lambda *given: found.append(tables_of(*given)) or found[-1])
    return found


def _again(*given):
    kept.tables_for.cache_clear()
    return kept.tables_for(*(given or (AUTOMATON, *GIVEN)))


def _bits(tables):
    """Every number of some tables, with its type."""
    out = {}
    for each in dataclasses.fields(tables):
        own = getattr(tables, each.name)
        for name, x in vars(own).items() if isinstance(own, Arrows) else [("", own)]:
            out[each.name, name] = (x.dtype, x.shape, x.numpy().tobytes()) if isinstance(x, torch.Tensor) else x
    return out


def _files(folder):
    return sorted(folder.glob("*.safetensors"))


def test_tables_from_disk_are_the_same_to_the_last_bit(folder, made):
    first, second = _again(), _again()
    assert len(made) == 1 and first is made[0] and second is not first
    assert _bits(first) == _bits(second)
    assert not any(x.is_inference() for x in (second.count, second.moves.index))
    with torch.inference_mode():
        assert not _again().count.is_inference()


@pytest.mark.parametrize("place", range(5))
def test_tables_of_something_else_are_others(folder, made, place):
    given = [AUTOMATON, *GIVEN]
    _again(*given)
    given[place] = (of_texts(["ab"]), (*TEXTS[:5], b"bb", b"c", None), (0, 1, 6, 7), (6,), (5, 4))[place]
    assert _bits(_again(*given)) == _bits(tables_of(*given)) != _bits(made[0])
    assert len(made) == 2 and len(_files(folder)) == 2


def test_a_second_process_makes_nothing_and_starts_no_process(folder):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", OTHER], env=env, check=True, capture_output=True).stdout)
        for _ in range(2)
    ]
    assert runs[0][:2] == [{"tables": 1, "automata": 1}, True]
    assert runs[1][:2] == [{"tables": 0, "automata": 0}, False]
    assert runs[0][2] == runs[1][2]


def test_an_automaton_from_disk_is_the_same(folder, monkeypatch):
    first = apart.of_pattern("(ab|é{2})*")
    apart.of_pattern.cache_clear()
    monkeypatch.setattr(apart._maker, "make", None)  # a call would fail
    second = apart.of_pattern("(ab|é{2})*")
    assert (first.moves == second.moves).all() and (first.final == second.final).all()
    assert (first.moves.dtype, first.final.dtype) == (second.moves.dtype, second.final.dtype)
    assert second.moves.flags.writeable


def test_a_file_that_is_damaged_is_made_anew(folder, made):
    wanted = _bits(_again())
    (file,) = _files(folder)
    whole = file.read_bytes()
    damaged = [b"", whole[:7], whole[:-1], whole[: len(whole) // 2], whole + b"x", b"\xff" * len(whole)]
    for at in range(0, len(whole), 97):
        damaged.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for count, content in enumerate(damaged, start=2):
        file.write_bytes(content)
        assert _bits(_again()) == wanted and len(made) == count
        assert _bits(_again()) == wanted and len(made) == count  # the new file is whole


def test_a_file_of_another_rule_under_this_name_is_made_anew(folder, made):
    _again()
    (mine,) = _files(folder)
    _again(of_texts(["b"]), *GIVEN)
    (other,) = (file for file in _files(folder) if file != mine)
    mine.write_bytes(other.read_bytes())
    assert _bits(_again()) == _bits(made[0]) and len(made) == 3


def test_numbers_that_point_nowhere_are_not_taken(folder, made):
    """Files with a right hash: sums are not checked on the way, so such a number would read other memory."""
    _again()
    (file,) = _files(folder)
    whole = disk.read(file.stem)
    count = 1
    for name, x in whole.items():
        for wrong in ({**whole, name: x[:-1]}, {**whole, name: x.astype(np.int32)}, _without(whole, name)):
            disk.write(file.stem, wrong)
            assert _bits(_again()) == _bits(made[0])
            assert len(made) == (count := count + 1), name
        if x.dtype == np.int64:
            for place, value in ((0, -1), (-1, 1 << 40)):
                wrong = x.copy()
                wrong[place] = value
                disk.write(file.stem, {**whole, name: wrong})
                assert _bits(_again()) == _bits(made[0])
                assert len(made) == (count := count + 1), name


def _without(arrays, name):
    return {each: x for each, x in arrays.items() if each != name}


@pytest.mark.parametrize("kind", ["file", "closed"])
def test_a_folder_that_cannot_be_written_costs_the_cache_only(folder, made, kind):
    if kind == "file":
        folder.write_text("this is no folder")
    else:
        folder.mkdir(mode=0o500)
    assert _bits(_again()) == _bits(_again())
    if kind == "file" or os.geteuid():
        assert len(made) == 2
    assert apart.of_pattern("ab").accepts("ab")


def test_it_can_be_switched_off(folder, made, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv(disk.VARIABLE, "off")
    _again(), _again()
    assert len(made) == 2 and not list(tmp_path.iterdir())
    monkeypatch.delenv(disk.VARIABLE)
    _again(), _again()
    assert len(made) == 3 and len(_files(tmp_path / "caches" / "mdmkit" / "constrain")) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    _again(), _again()
    assert len(made) == 4 and len(_files(tmp_path / "home" / ".cache" / "mdmkit" / "constrain")) == 1


def test_files_of_the_longest_ago_leave_when_there_are_too_many_bytes(folder, monkeypatch):
    keys = [f"{i:02}" for i in range(6)]
    array = {"x": np.zeros(100, dtype=np.int64)}
    for age, key in enumerate(keys[:4]):
        disk.write(key, array)
        os.utime(folder / f"{key}.safetensors", (1_000 + age, 1_000 + age))
    size = (folder / "00.safetensors").stat().st_size
    monkeypatch.setattr(disk, "BYTES", 4 * size)
    disk.read("00")  # it is used, so it stays
    disk.write("04", array)
    assert [file.stem for file in _files(folder)] == ["00", "02", "03", "04"]
    monkeypatch.setattr(disk, "FILES", 2)
    os.utime(folder / "04.safetensors", (5_000, 5_000))
    disk.write("05", array)
    assert [file.stem for file in _files(folder)] == ["00", "05"]
    monkeypatch.setattr(disk, "BYTES", size - 1)
    disk.write("06", array)
    assert "06" not in [file.stem for file in _files(folder)]


def test_what_a_killed_process_has_left_is_removed(folder):
    folder.mkdir()
    (folder / "half.part").write_bytes(b"x")
    disk.write("0", {"x": np.zeros(1)})
    assert sorted(file.name for file in folder.iterdir()) == [".lock", "0.safetensors"]


def test_several_writers_at_once(folder):
    """Whoever reads meanwhile gets all of a file, or nothing."""
    arrays = {str(i): {"x": np.full(50_000, i)} for i in range(3)}
    wrong, ended = [], threading.Event()

    def write():
        for _ in range(15):
            for key, own in arrays.items():
                disk.write(key, own)

    def read():
        while not ended.is_set():
            for key, own in arrays.items():
                found = disk.read(key)
                if found is not None and not np.array_equal(found["x"], own["x"]):
                    wrong.append(key)

    writers, reader = [threading.Thread(target=write) for _ in range(3)], threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    reader.join()
    assert not wrong and all(np.array_equal(disk.read(key)["x"], own["x"]) for key, own in arrays.items())
    assert not list(folder.glob("*.part"))
