"""Load a model: find the backbone that reads a reference, and choose the device."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mdmkit.errors import MdmkitError, unknown
from mdmkit.installed.part import Part
from mdmkit.installed.registry import Registry, default, first_party
from mdmkit.model.backbone import Backbone, Source

DTYPES = ("auto", "float32", "bfloat16", "float16")


def load(
    ref: str, device: str = "auto", dtype: str = "auto", *, registry: Registry | None = None, **options: Any
) -> Backbone:
    """Load a model.

    Args:
        ref: `NAME:rest` for the backbone NAME (`zoo:puzzles`, `text:./checkpoint`); or a directory or hub id. All
            installed backbones, in order of name, are asked whether they accept it.
        device: `auto` is cuda if there is a GPU, else cpu.
        dtype: auto, float32, bfloat16 or float16; with `auto` the backbone chooses.
        registry: the registry with the backbones; None: the registry of the process.
        options: options of the backbone.

    Raises:
        MdmkitError: no backbone reads the reference, the device or dtype does not exist, or the model cannot be loaded.
    """
    if dtype not in DTYPES:
        raise MdmkitError(unknown("dtype", str(dtype).removeprefix("torch."), DTYPES))
    device = _device(device)
    registry = registry or default()
    part, rest = _backbone(str(ref), registry)
    backbone = registry.load(part).load(rest, device=device, dtype=dtype, **options)
    if isinstance(backbone, Backbone):
        # Not by plain assignment, because a backbone may be a frozen dataclass.
        object.__setattr__(backbone, "source", Source(str(ref), device, dtype, options, part.origin))
        if not backbone.loaded_from and rest and os.path.exists(rest):
            object.__setattr__(backbone, "loaded_from", (Path(rest),))
    return backbone


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise MdmkitError(f"unknown device {name!r}. Known: auto, cpu, cuda, cuda:N.") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise MdmkitError(f"device {name!r} was asked for, and torch sees no CUDA device here. Use cpu, or auto.")
        if device.index is not None and device.index >= count:
            raise MdmkitError(f"device {name!r} was asked for, and there are {count} (cuda:0 to cuda:{count - 1}).")
    return name


def _backbone(ref: str, registry: Registry) -> tuple[Part, str]:
    """The backbone that loads a reference, and the reference without the backbone's name."""
    installed = registry.of_kind("backbone")
    name, colon, rest = ref.partition(":")
    if colon and name not in {part.name for part in installed}:
        for part in installed:  # distribution:name:rest, if two distributions use one name
            prefix = f"{part.distribution}:{part.name}:"
            if ref.startswith(prefix):
                return part, ref.removeprefix(prefix)
    elif colon:
        return registry.find("backbone", name), rest

    found, asked = ask_backbones(lambda cls: cls.accepts(ref), registry)
    if found is not None:
        return found, ref
    if colon and not Path(ref).exists():
        registry.find("backbone", name)  # raises: nothing has that name
    kind = "a directory" if Path(ref).is_dir() else "a file" if Path(ref).is_file() else "no file or directory here"
    present = {part.distribution for part in installed}
    absent = [name for name, kinds in first_party().items() if "backbone" in kinds and name not in present]
    more = f" More come with: pip install {' '.join(absent)}." if absent else ""
    raise MdmkitError(f"no backbone reads model {ref!r} ({kind}). {asked}{more}")


def ask_backbones(answers: Callable[[type[Backbone]], bool], registry: Registry) -> tuple[Part | None, str]:
    """Ask every installed backbone, in order of name; one that cannot be imported is passed over.

    Returns:
        The first that says yes, or None; and for an error, who was asked, and why some could not be.
    """
    installed, faults = registry.of_kind("backbone"), []
    for part in installed:
        try:
            cls = registry.load(part)
        except MdmkitError as error:
            faults.append(str(error))
            continue
        if answers(cls):
            return part, ""
    named = ", ".join(f"{part.name} ({part.origin})" for part in installed) or "none is installed"
    return None, " ".join((f"Installed backbones: {named}.", *faults))
