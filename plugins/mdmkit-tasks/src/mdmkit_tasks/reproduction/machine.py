"""Find out what this machine can run of a table, without torch and without a download."""

from __future__ import annotations

import importlib.util
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mdmkit import MdmkitError
from mdmkit.cli.commands import default_registry
from mdmkit_tasks.reproduction.experiment import Group

HUB = "https://huggingface.co"


def obstacle(
    group: Group, models: Mapping[str, str], data: Mapping[str, Path], options: Mapping[str, Any], dtype: str
) -> str:
    """Why a group cannot be run here; empty if it can.

    Args:
        models: references that replace hub ids.
        data: local files of tasks.
        options: the task's options.
    """
    model = "" if group.model in models else _model(group, dtype)
    return "; ".join(filter(None, [_task(group, data, options), model]))


def _task(group: Group, data: Mapping[str, Path], options: Mapping[str, Any]) -> str:
    try:
        default_registry().find("task", group.task)
    except MdmkitError:
        return f"no task {group.task!r} is installed"
    if lacking := [name for name in group.needs if not options.get(name)]:
        return f"its judge needs {' and '.join(f'--task-option {name}=…' for name in lacking)}"
    if group.data is None or group.task in data:
        return ""
    if importlib.util.find_spec("datasets") is None:
        return f"the data {group.data} needs the package datasets, or --data {group.task}=FILE"
    if _cached_data(group.data):
        return ""
    return (why := _hub()) and f"the data {group.data} is not here ({why}): --data {group.task}=FILE"


def _model(group: Group, dtype: str) -> str:
    gpu = Path("/proc/driver/nvidia/version").exists()
    need = group.parameters * (4 if dtype in ("auto", "float32") else 2)  # auto is float32 on the CPU
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if not gpu and need > have:
        return f"no GPU here, and the weights take {need / 1e9:.0f} GB of {have / 1e9:.0f} GB memory"
    if _cached_model(group.model):
        return ""
    return (why := _hub()) and f"the model is not here ({why}): --model {group.model}=PATH"


def _cached_model(ref: str) -> bool:
    """True if the hub's cache holds a model with weights."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(ref, "config.json")
    return isinstance(found, str) and any(
        next(Path(found).parent.glob(f"*.{kind}"), None) for kind in ("safetensors", "bin")
    )


def _cached_data(ref: str) -> bool:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    place = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    return (place / ref.replace("/", "___")).is_dir()


@cache
def _hub() -> str:
    """Why the hub cannot be used; empty if it answers."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return f"{name} is set"
    try:
        request = urllib.request.Request(os.environ.get("HF_ENDPOINT") or HUB, method="HEAD")
        with urllib.request.urlopen(request, timeout=5):
            return ""
    except urllib.error.HTTPError:
        return ""  # it answered
    except (OSError, ValueError):
        return "the hub does not answer"
