"""The names and shapes of a checkpoint's tensors, from the headers of its safetensors files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mdmkit import MdmkitError
from mdmkit_text.jsonfile import read_object

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


def read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Read the name and shape of every tensor; only the headers of the files are read.

    Raises:
        MdmkitError: no safetensors files, a missing shard, or a file that is incomplete or of another format.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for name in files_of_weights(folder):
        path = folder / name
        if not path.is_file():
            raise MdmkitError(f"{path} is missing, though {_INDEX} names it. Fetch the file again.")
        try:
            with safe_open(path, framework="pt") as file:
                shapes |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise MdmkitError(
                f"{path} is not a whole safetensors file: {error}. It may be cut short, or a Git LFS pointer in place "
                "of the file. Fetch it again."
            ) from error
    return shapes


def files_of_weights(folder: Path) -> list[str]:
    """The names of the safetensors files in a directory.

    Raises:
        MdmkitError: there are none, or the index of shards is damaged.
    """
    refuse_adapter(folder)
    if (folder / _SINGLE).is_file():
        return [_SINGLE]
    if not (folder / _INDEX).is_file():
        raise MdmkitError(_no_weights(folder))
    shards = read_object(folder / _INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(_plain(name) for name in shards.values()):
        raise MdmkitError(
            f"{folder / _INDEX} has no usable weight_map: it should name the file here that holds each weight."
        )
    return sorted(set(shards.values()))


def refuse_adapter(folder: Path) -> None:
    """Raise an MdmkitError if a directory holds an adapter in place of a model."""
    path = folder / "adapter_config.json"
    if path.exists():
        base = read_object(path).get("base_model_name_or_path")
        raise MdmkitError(
            f"{folder} holds an adapter (adapter_config.json, such as LoRA), not a whole model. Merge it into its base "
            f"model{f' {base}' if isinstance(base, str) else ''} (peft: merge_and_unload, then save_pretrained) and "
            "give that directory."
        )


def _plain(name: Any) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name


def _no_weights(folder: Path) -> str:
    pickles = sorted(p.name for suffix in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in folder.glob(suffix))
    if pickles:
        return (
            f"{folder} holds its weights only as pickle ({', '.join(pickles[:4])}), which can run code when read. "
            "If you trust them, convert them once: read the file with torch.load(file, weights_only=True) and write "
            f"it with safetensors.torch.save_file(weights, {_SINGLE!r}), or use transformers' save_pretrained."
        )
    named = sorted(p.name for p in folder.glob("*.safetensors"))
    found = f" It holds {', '.join(named[:4])}; rename the weights to {_SINGLE}." if named else ""
    return f"{folder} holds no weights: neither {_SINGLE} nor {_INDEX}.{found}"
