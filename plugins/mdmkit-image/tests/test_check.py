"""`mdmkit check` draws an image with a model of images, whose length is its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).parent))
import tiny

from mdmkit.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("write", [tiny.write_amused, tiny.write_maskgit])
def test_a_model_of_images_is_decoded(write: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder)
    done = CliRunner().invoke(main, ["check", str(folder)])
    assert done.exit_code == 0, done.output
    assert f"ok   model {folder}: decode: 16 masks filled" in done.output
