"""Load a part of a model as a class of diffusers or transformers, and refuse weights that do not fit its config."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from mdmkit import MdmkitError
from mdmkit_image.layout import quiet, read_config, said, why

# The fields that give a number of layers.
_LAYERS = ("num_hidden_layers", "num_res_blocks", "layers_per_block")
# The kinds of weights in a loader's report that do not fit.
_ASTRAY = ("missing", "unexpected")


def load_part(folder: Path, part: str, library: str, name: str, device: str, dtype: torch.dtype = torch.float32) -> Any:
    """Load a part of a model for inference: class `name` of `library`, safetensors only.

    Raises:
        MdmkitError: the library is not installed, the part cannot be loaded, or its weights do not fit its config.
    """
    cls = getattr(_library(library), name)
    _check_layers(folder / part)
    try:
        with quiet():
            model, report = cls.from_pretrained(
                folder / part, use_safetensors=True, torch_dtype=dtype, output_loading_info=True
            )
        model = model.to(device)
    except Exception as error:  # the loaders raise many unrelated types
        raise MdmkitError(f"model {str(folder)!r}: its {part} cannot be loaded as {name}: {why(error)}") from error
    _check_report(folder, part, name, report)
    return model.eval().requires_grad_(False)


def _check_layers(part: Path) -> None:
    """Refuse more layers than there are tensors, before the loader builds every layer."""
    if not (part / "config.json").is_file():
        return
    config, have = read_config(part / "config.json"), _count_tensors(part)
    for field in _LAYERS:
        asked = config.get(field)
        if have and isinstance(asked, int) and asked > have:
            raise MdmkitError(
                f"{part}: config.json says {field}={asked}, and its weights have only {have} tensors. Copy both files "
                "again from the same model, or correct config.json."
            )


def _count_tensors(part: Path) -> int:
    """The number of tensors in a directory's files; 0 if one cannot be read."""
    count = 0
    for file in part.glob("*.safetensors"):
        try:
            with safe_open(file, "pt") as weights:
                count += len(weights.keys())
        except Exception:  # whoever loads it says what is wrong
            return 0
    return count


def _check_report(folder: Path, part: str, name: str, report: dict[str, Any]) -> None:
    """Refuse weights that do not fit: the loaders fill what is missing with random numbers, and pass over the rest."""
    faults = [f"{kind}: {_some(keys)}" for kind in _ASTRAY if (keys := sorted(report[f"{kind}_keys"]))]
    if faults:
        raise MdmkitError(
            f"model {str(folder)!r}: the weights in {part} are not those of a {name} with {part}/config.json; "
            f"{'; '.join(faults)}. Missing weights would be random, so it is refused. Copy both files again from the "
            "same model, or correct config.json."
        )


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''}"


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MdmkitError(
            f"image models need {name}, which cannot be imported here ({said(error)}): pip install mdmkit-image."
        ) from error
