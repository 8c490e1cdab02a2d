"""Model directories in diffusers' format: find them, and read their index and configs; how the loaders are called."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mdmkit import MdmkitError, shown, unknown

INDEX = "model_index.json"
# Half-precision copies of the weights ("….fp16.safetensors") are not downloaded.
_WANTED = [
    "*.json",
    "model*.safetensors",
    "*.txt",
    "*/*.json",
    "*/*.txt",
    "*/diffusion_pytorch_model.safetensors",
    "*/model.safetensors",
]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def index_of(ref: str) -> dict[str, Any] | None:
    """Read a local directory's model_index.json, its keys; None if there is no readable one."""
    try:
        found = json.loads((Path(os.path.expanduser(ref)) / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_config(file: Path) -> dict[str, Any]:
    """Read a config, a file with one JSON object.

    Raises:
        MdmkitError: it is none.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MdmkitError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise MdmkitError(f"{file} is {shown(config)}, and must be an object.")
    return config


def is_hub_id(ref: str) -> bool:
    return _HUB_ID.fullmatch(ref) is not None and not Path(ref).exists()


def locate(ref: str, parts: Sequence[str], revision: str | None = None) -> Path:
    """Find a model's directory, and download it if the reference is a hub id.

    Args:
        parts: the folders that it must hold.

    Raises:
        MdmkitError: there is no such directory, or it lacks something. The error says what.
    """
    path = Path(os.path.expanduser(ref))
    if path.is_file():
        raise MdmkitError(f"model {ref!r} is a file. Give the directory that holds {INDEX} and {_listed(parts)}.")
    if not path.exists():
        if not is_hub_id(ref):
            raise MdmkitError(
                f"there is no directory {ref!r}, and it does not have the form of a hub id (organisation/name). Give a "
                f"directory in diffusers' format: {INDEX} and {_listed(parts)}."
            )
        path = fetch(ref, revision)
    needed = (INDEX, *(f"{part}/" for part in parts))
    missing = [name for name in needed if not (path / name).exists()]
    if missing:
        raise MdmkitError(
            f"model {ref!r} is not in diffusers' format: {path} lacks {_listed(missing)}. Such a directory "
            f"holds {_listed(needed)}, as save_pretrained of a diffusers pipeline writes them."
        )
    return path


def dtype_of(name: str, device: str) -> torch.dtype:
    """The dtype to compute in; `"auto"` is float32 on the CPU, bfloat16 elsewhere."""
    if name == "auto":
        return torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
    if name not in _DTYPES:
        raise MdmkitError(unknown("dtype", name, ("auto", *_DTYPES)))
    return _DTYPES[name]


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the loaders' warnings and progress bars. Errors are raised as MdmkitError."""
    from transformers.utils import logging as transformers_log

    diffusers_log = importlib.import_module("diffusers.utils.logging")
    levels = [(log, log.get_verbosity()) for log in (transformers_log, diffusers_log)]
    bars = transformers_log.is_progress_bar_enabled()
    for log, _ in levels:
        log.set_verbosity(logging.CRITICAL)
    transformers_log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in levels:
            log.set_verbosity(level)
        if bars:
            transformers_log.enable_progress_bar()


def check_ids(model: str, tokenizer: Any, rows: int, part: str) -> None:
    """Refuse a tokenizer that has ids beyond the rows of the embedding that they are looked up in.

    Args:
        part: what has the embedding, for the error.

    Raises:
        MdmkitError: it has such ids.
    """
    token, highest = max(tokenizer.get_vocab().items(), key=lambda pair: pair[1], default=("", -1))
    if highest >= rows:
        raise MdmkitError(
            f"model {model!r}: its tokenizer has ids up to {highest}, that of {shown(token)}, and the embedding of its "
            f"{part} has rows for 0 to {rows - 1} only. They do not belong to the same model: copy the tokenizer's "
            "files again from the model that the weights are from."
        )


def said(error: Exception) -> str:
    """The first line of an error's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def why(error: Exception) -> str:
    """Why a loader did not load a model, for an error."""
    if "ignore_mismatched_sizes" in str(error):  # transformers shows the sizes in its log only
        return "the sizes in its config.json are not those of its weights"
    return said(error)


def fetch(ref: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(ref, revision=revision, allow_patterns=_WANTED))
    except Exception as error:  # the hub's client raises many unrelated types
        raise MdmkitError(
            f"model {ref!r} was looked for as a directory, which does not exist, then as a hub id"
            f"{f' at revision {revision!r}' if revision else ''}, in the local cache and on the hub: {said(error)} "
            "Without network, copy the model's files into a directory and give its path."
        ) from error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
