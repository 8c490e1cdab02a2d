"""Weights are read ahead while a model is loaded, and nothing that goes wrong with it fails a load."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mdmkit import MdmkitError
from mdmkit_text import ahead
from mdmkit_text.backbone import TextBackbone

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="weights are read ahead on Linux only")


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "mdmkit-read-ahead"]


def wait_for_the_end() -> None:
    until = time.monotonic() + 10
    while threads() and time.monotonic() < until:
        time.sleep(0.01)
    assert not threads()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read small files ahead too."""
    monkeypatch.setattr(ahead, "_WORTH", 1)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many bytes of each file were sent to nowhere, in pieces of 1000."""
    found: dict[str, int] = {}
    send = os.sendfile

    def note(to: int, file: int, place: int, size: int) -> int:
        assert os.readlink(f"/proc/self/fd/{to}") == os.devnull
        name = Path(os.readlink(f"/proc/self/fd/{file}")).name
        assert place == found.get(name, 0), "the pieces follow one another"
        done = send(to, file, place, size)
        found[name] = place + done
        return done

    monkeypatch.setattr(ahead, "_PIECE", 1000)
    monkeypatch.setattr(os, "sendfile", note)
    return found


def test_all_shards_are_read_whole(tmp_path: Path, sent: dict[str, int]) -> None:
    names = [f"model-0000{i}.safetensors" for i in (1, 2)]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes(2500 + i))
    (tmp_path / "model.safetensors.index.json").write_text(
        f'{{"weight_map": {{"a": "{names[0]}", "b": "{names[1]}"}}}}'
    )
    with ahead.reading_ahead(tmp_path):
        wait_for_the_end()
    assert sent == {names[0]: 2500, names[1]: 2501}


def test_no_thread_is_started_for_few_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "Thread", NoThread)
    monkeypatch.setattr(NoThread, "started", [])
    (tmp_path / "model.safetensors").write_bytes(bytes(99))
    for least, started in ((100, 0), (99, 1)):
        monkeypatch.setattr(ahead, "_WORTH", least)
        with ahead.reading_ahead(tmp_path):
            assert len(NoThread.started) == started


def test_it_ends_with_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    calls: list[int] = []

    def endless(to: int, file: int, place: int, size: int) -> int:
        calls.append(place)
        time.sleep(0.001)
        return size

    monkeypatch.setattr(os, "sendfile", endless)

    def fail() -> None:
        with ahead.reading_ahead(tmp_path):
            while len(calls) < 3:
                time.sleep(0.001)
            assert len(threads()) == 1
            raise MdmkitError("refused")

    with pytest.raises(MdmkitError, match="refused"):
        fail()
    wait_for_the_end()


def test_it_begins_before_transformers_is_imported() -> None:
    code = (
        "import sys\nfrom contextlib import contextmanager\nfrom mdmkit_text import backbone\n"
        "begin = backbone.reading_ahead\n"
        "@contextmanager\n"
        "def noted(folder):\n"
        "    print(folder.name, 'transformers' in sys.modules)\n"
        "    with begin(folder):\n        yield\n"
        "    print('transformers' in sys.modules)\n"
        "backbone.reading_ahead = noted\n"
        f"backbone.TextBackbone.load({str(GOLDEN / 'llada')!r}, mask_id=125)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["llada", "False", "True"], done.stderr


class NoThread:
    """Raises as a thread does where a process may have no more of them."""

    def __init__(self, **keywords: Any) -> None:
        assert callable(keywords["target"])

    started: ClassVar[list[NoThread]] = []

    def start(self) -> None:
        self.started.append(self)
        raise RuntimeError("can't start new thread")


def test_a_load_goes_on_if_the_files_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(to: int, file: int, place: int, size: int) -> int:
        asked.append(place)
        raise OSError("no such call on this file system")

    monkeypatch.setattr(os, "sendfile", refuse)
    assert TextBackbone.load(str(GOLDEN / "llada"), mask_id=125).vocab > 125
    wait_for_the_end()
    assert asked == [0]


def test_a_load_goes_on_if_no_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "Thread", NoThread)
    monkeypatch.setattr(NoThread, "started", [])
    assert TextBackbone.load(str(GOLDEN / "llada"), mask_id=125).vocab > 125
    assert len(NoThread.started) == 1


def test_without_weights_the_error_is_that_of_the_load(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((GOLDEN / "llada" / "config.json").read_text())
    with pytest.raises(MdmkitError, match="holds no weights"):
        TextBackbone.load(str(tmp_path))
    wait_for_the_end()
