"""Golden checkpoints, and copies of them with another config.json: for tests of the core and of plugins."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden"


def changed(name: str, folder: Path, **values: Any) -> Path:
    """A copy of a golden checkpoint with other values in its config.json; `...` takes a field out."""
    folder = folder / name
    shutil.copytree(GOLDEN / name, folder)
    config = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))
    return folder
