"""`mdmkit check MODEL` draws an image with a model of images, whose length is its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).parent))
import tiny

from mdmkit.cli.check import check_model
from mdmkit.installed.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("write", [tiny.write_amused, tiny.write_maskgit])
def test_a_model_of_images_is_decoded(write: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder)
    # A registry of its own: that of the process may hold the plugin files of other tests, which would be tried too.
    found = {each.subject: each for each in check_model(str(folder), Registry(), {})}
    decode = found[f"model {folder}: decode"]
    assert decode.verdict == "ok" and "16 masks filled" in decode.detail, found
    assert all(each.verdict != "FAIL" for each in found.values()), found
