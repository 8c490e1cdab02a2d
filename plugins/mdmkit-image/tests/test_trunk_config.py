"""Every field of a published LLaDA config, changed or left out: the logits of its makers' class, or a refusal.

What the class computes for each change was recorded once: see tests/published/record.py of mdmkit-text.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("diffusers")

from mdmkit import MdmkitError
from mdmkit_image.trunk import Trunk

ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT / "plugins" / "mdmkit-text" / "tests" / "published"
TOKENS = torch.arange(2, 14)[None]
# The class cannot be built from these changes: its defaults do not fit the small vocabulary, or need a package.
# They leave the logits as they are.
TOLERATED = {"embedding_size", "vocab_size", "flash_attention", "use_cache", "torch_dtype"}


@torch.inference_mode()
def outcome(folder: Path, config: dict[str, Any]) -> torch.Tensor | None:
    """The logits [L, V] of a checkpoint with this config, or None if it is refused."""
    (folder / "config.json").write_text(json.dumps(config))
    try:
        trunk = Trunk.load(folder, "cpu", torch.float32)
    except MdmkitError:
        return None
    return (trunk(TOKENS, torch.ones_like(TOKENS, dtype=torch.bool)) @ trunk.head.T)[0]


def test_no_change_of_a_published_config_is_decoded_as_something_else(tmp_path: Path) -> None:
    published = json.loads((PUBLISHED / "llada.json").read_text())
    results = load_file(PUBLISHED / "llada.safetensors")["results"]
    shutil.copy(ROOT / "tests" / "golden" / published["weights"] / "model.safetensors", tmp_path)
    config, decoded, silent, refused = published["config"], 0, [], []
    for field, value, number in published["cases"]:
        changed = {k: v for k, v in config.items() if k != field} | ({} if value is None else {field: value[0]})
        found = outcome(tmp_path, changed)
        if found is None:
            if number == 0:
                refused.append((field, value))
            continue
        decoded += 1
        expected = results[number] if number >= 0 else results[0] if field in TOLERATED else None
        if expected is None or (found[:, ::8] - expected).abs().max() > 1e-4:
            silent.append((field, value))
    assert silent == []
    assert refused == []  # nothing that leaves the logits as they are
    assert decoded == 70
