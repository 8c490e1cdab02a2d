"""From a reference to a directory: a local directory, or a hub id through the hub's cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mdmkit import MdmkitError
from mdmkit_text.headers import refuse_adapter

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Only the files that a model needs: no pickles, no code, no copies of the weights in another format.
_WANTED = ["*.json", "model*.safetensors", "*.txt", "*.model", "*.tiktoken", "*.jinja"]


def is_hub_id(ref: str) -> bool:
    """Return True if a reference has the form `organisation/name`."""
    return _HUB_ID.fullmatch(ref) is not None


def accepts(ref: str) -> bool:
    """Return True if a reference is a model directory or has the form of a hub id; nothing is loaded."""
    path = Path(os.path.expanduser(ref))
    if not path.exists():
        return is_hub_id(ref)
    # An adapter is no model, but the error of `locate` says what to do with it.
    return (path / "config.json").is_file() or (path / "adapter_config.json").is_file()


def locate(ref: str, revision: str | None = None) -> Path:
    """Find the directory of a model; only for a hub id, files may be downloaded.

    Raises:
        MdmkitError: no such directory, no config.json in it, or the hub does not give the model.
    """
    path = Path(os.path.expanduser(ref))
    if path.is_file():
        raise MdmkitError(f"model {ref!r} is a file. Give the directory that holds config.json and the weights.")
    if not path.exists():
        if not is_hub_id(ref):
            raise MdmkitError(
                f"there is no directory {ref!r}, and it does not have the form of a hub id (organisation/name). Give a "
                "directory that holds config.json, model.safetensors and tokenizer.json."
            )
        path = _fetch(ref, revision)
    if not (path / "config.json").is_file():
        refuse_adapter(path)
        raise MdmkitError(
            f"model {ref!r}: {path} holds no config.json. A model directory holds config.json, model.safetensors (or "
            "its shards and index) and, for prompts as text, a tokenizer."
        )
    return path


def files_of(folder: Path) -> list[Path]:
    """The files of a model's folder that decide what it computes."""
    return sorted({path for pattern in _WANTED for path in folder.glob(pattern) if not path.name.endswith(".run.json")})


def _fetch(ref: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(ref, revision=revision, allow_patterns=_WANTED, ignore_patterns=["*/*"]))
    except Exception as error:  # the hub's client raises many unrelated types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MdmkitError(
            f"model {ref!r} was looked for as a directory, which does not exist, then as a hub id"
            f"{f' at revision {revision!r}' if revision else ''}, in the local cache and on the hub: {reason} "
            "Without network, copy the model's files into a directory and give its path."
        ) from error
