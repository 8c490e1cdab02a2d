"""Load a part of a model as a class of diffusers or transformers, and refuse weights that do not fit its config."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import safe_open

from mdmkit import MdmkitError
from mdmkit_image.layout import quiet, read_config, said, why

# Names of fields that give a number of layers, and of fields whose lists have a value for each layer or block.
_LAYERS, _LISTS = re.compile("layers|blocks"), re.compile("layer|block")
# The file of a library's weights, without its suffix.
_FILES = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
# The kinds of weights in a loader's report that do not fit.
_ASTRAY = ("missing", "unexpected")


def load_part(folder: Path, part: str, library: str, name: str, device: str, dtype: torch.dtype = torch.float32) -> Any:
    """Load a part of a model for inference: class `name` of `library`, safetensors only.

    Raises:
        MdmkitError: the library is not installed, the part cannot be loaded, or its weights do not fit its config.
    """
    cls = getattr(_library(library), name)
    config = _read(folder / part)
    try:
        held = _shapes(folder / part, library)
        if held is not None:
            _check_layers(config, len(held))
        with quiet(), _loadable(folder / part, config) as source:
            if held is not None and not config.get("quantization_config"):  # quantised weights have other shapes
                _check_sizes(_planned(cls, library, source), held)
            model, report = cls.from_pretrained(
                source, use_safetensors=True, torch_dtype=dtype, output_loading_info=True
            )
        model = model.to(device)
    except Exception as error:  # the loaders raise many unrelated types
        raise MdmkitError(f"model {str(folder)!r}: its {part} cannot be loaded as {name}: {why(error)}") from error
    _check_report(folder, part, name, report)
    return model.eval().requires_grad_(False)


def _read(part: Path) -> dict[str, Any]:
    """A part's config; empty if there is none, which whoever loads the part says."""
    return read_config(part / "config.json") if (part / "config.json").is_file() else {}


def _shapes(part: Path, library: str) -> dict[str, list[int]] | None:
    """The shapes of the tensors in the files that the library reads, by name; None if there are no files."""
    whole = part / f"{_FILES[library]}.safetensors"
    files = [whole] if whole.is_file() else sorted(part.glob("*.safetensors"))
    found: dict[str, list[int]] = {}
    for file in files:
        with safe_open(file, "pt") as weights:
            found |= {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    return found if files else None


@contextmanager
def _loadable(part: Path, config: dict[str, Any]) -> Iterator[Path]:
    """The directory to load: the part's own, or links to its files beside a config without `quantization_config: {}`.

    An empty one says that nothing is quantised, and the loaders refuse it.
    """
    if config.get("quantization_config") != {}:
        yield part
        return
    with TemporaryDirectory() as made:
        for file in part.iterdir():
            if file.name != "config.json":
                (Path(made) / file.name).symlink_to(file.resolve())
        kept = {field: value for field, value in config.items() if field != "quantization_config"}
        (Path(made) / "config.json").write_text(json.dumps(kept), encoding="utf-8")
        yield Path(made)


def _check_layers(config: dict[str, Any], have: int) -> None:
    """Refuse more layers than there are tensors, at any depth of a config, before any layer is built."""
    for field, value in _fields(config):
        name = field.rpartition(".")[2]
        of_list = isinstance(value, list)
        asked = len(value) if of_list else value
        if isinstance(asked, int) and asked > have and (_LISTS if of_list else _LAYERS).search(name):
            says = f"{field} with {asked} values" if of_list else f"{field}={asked}"
            raise ValueError(
                f"its config.json says {says}, and its weights have only {have} tensors. Copy both files again from "
                "the same model, or correct config.json."
            )


def _fields(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every field and its value, those of objects inside under "outer.inner", and the values of a list under its name.

    A stack, because a config may have more levels than Python's calls.
    """
    left: list[tuple[str, Any]] = [("", config)]
    while left:
        name, value = left.pop()
        yield name, value
        if isinstance(value, dict):
            left += [(f"{name}.{field}" if name else field, inner) for field, inner in value.items()]
        elif isinstance(value, list):
            left += [(name, inner) for inner in value]


def _planned(cls: Any, library: str, part: Path) -> dict[str, list[int]]:
    """The shapes of the tensors that a config asks for, by name. On the meta device they need no memory."""
    with torch.device("meta"):
        if library == "diffusers":
            model = cls.from_config(cls.load_config(part))
        else:
            model = cls(cls.config_class.from_pretrained(part))
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def _check_sizes(planned: dict[str, list[int]], held: dict[str, list[int]]) -> None:
    """Refuse a config of other sizes before its tensors are made. Names that do not fit are for the loader's report."""
    most = sum(map(prod, held.values()))
    for name, shape in planned.items():
        if held.get(name, shape) != shape or prod(shape) > most:
            has = f"is {held[name]} in its file" if name in held else f"is not there, and all others hold {most} values"
            raise ValueError(
                f"the sizes in its config.json are not those of its weights: {name} would be {shape}, and {has}. Copy "
                "both files again from the same model, or correct config.json."
            )


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
