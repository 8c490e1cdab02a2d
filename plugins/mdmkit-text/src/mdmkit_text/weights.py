"""Load a checkpoint's weights into transformers' own class, and refuse any that do not fit exactly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError
from mdmkit_text.jsonfile import read_object
from mdmkit_text.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdmkit_text.families.family import Family

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_LISTED = 12


def load_model(
    folder: Path, config: dict[str, Any], family: Family, dtype: Any, placed: dict[str, Any] | None = None
) -> Any:
    """Load the model, for evaluation only. On a terminal, a slow load shows its progress.

    Args:
        folder: holds the weights.
        config: the content of config.json.
        family: the names of the weights, and their class.
        dtype: a torch dtype, or `"auto"` for the checkpoint's.
        placed: keywords of `placement`; with a device_map each weight goes to its device as it is read. Without one,
            all stay on the CPU, memory-mapped if the dtype is that of the checkpoint.

    Raises:
        MdmkitError: weight files are absent, pickled or corrupt; weights are missing, unexpected or of the wrong shape;
            or transformers cannot build the model.
    """
    check_files(folder)
    try:
        with quiet(progress=True):
            native, native_config = family.native(config)
            model, report = native.from_pretrained(
                folder,
                config=native_config,
                dtype=dtype,
                key_mapping=family.key_mapping,
                attn_implementation="sdpa" if getattr(native, "_supports_sdpa", False) else "eager",
                output_loading_info=True,
                # Different shapes are in the report, so that all are listed at once.
                ignore_mismatched_sizes=True,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                **(placed or {}),
            )
    except MdmkitError as error:
        raise MdmkitError(f"{folder}: {error}") from error
    except Exception as error:  # transformers raises many types here; each means that this checkpoint does not load
        reason = " ".join(str(error).split()) or type(error).__name__
        if "automatic conversion of the weights" in reason:  # transformers writes only to its log which ones
            reason = (
                "weights that its class stacks into one (a layer's experts) are incomplete, or differ in shape: fetch "
                "the checkpoint again, or check that config.json and the weights belong together."
            )
        raise MdmkitError(f"{folder}: transformers could not build the model: {reason}") from error
    _check_report(folder, type(model).__name__, report, family)
    return model.eval().requires_grad_(False)


def check_files(folder: Path) -> None:
    """Check that the weights are complete safetensors files; only their headers are read.

    Raises:
        MdmkitError: no safetensors files, a missing shard, or a file that is incomplete or of another format.
    """
    if (folder / "adapter_config.json").exists():
        raise MdmkitError(
            f"{folder} holds an adapter (adapter_config.json), not a whole model. Merge it into its base model "
            "(peft: merge_and_unload, then save_pretrained) and give that directory."
        )
    if (folder / _SINGLE).is_file():
        names = [_SINGLE]
    elif (folder / _INDEX).is_file():
        shards = read_object(folder / _INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(_plain(name) for name in shards.values()):
            raise MdmkitError(
                f"{folder / _INDEX} has no usable weight_map: it should name the file here that holds each weight."
            )
        names = sorted(set(shards.values()))
    else:
        raise MdmkitError(_no_weights(folder))
    from safetensors import SafetensorError, safe_open

    for name in names:
        path = folder / name
        if not path.is_file():
            raise MdmkitError(f"{path} is missing, though {_INDEX} names it. Fetch the file again.")
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise MdmkitError(
                f"{path} is not a whole safetensors file: {error}. It may be cut short, or a Git LFS pointer in place "
                "of the file. Fetch it again."
            ) from error


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


def _check_report(folder: Path, native: str, report: dict[str, Any], family: Family) -> None:
    """Turn transformers' loading report into an error. Tied weights and position buffers are not in the report."""
    ignored = [re.compile(pattern) for pattern in family.ignored_weights]
    unexpected = [k for k in report["unexpected_keys"] if not any(p.search(k) for p in ignored)]
    wrong = [f"{key} ({list(have)}, should be {list(want)})" for key, have, want in report["mismatched_keys"]]
    faults = [
        f"{kind}: {_listing(names)}"
        for kind, names in (
            ("missing", report["missing_keys"]),
            ("unexpected", unexpected),
            ("of another shape", wrong),
        )
        if names
    ]
    if faults:
        raise MdmkitError(
            f"{folder}: the weights do not fit {native}, which config.json asks for. {'; '.join(faults)}. If some "
            "weights were random, the output would still look like an answer. So the model is refused: check that "
            "config.json and the "
            "weights belong together, and that the checkpoint has a language-model head."
        )


def _listing(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return f"{', '.join(ordered[:_LISTED])}{more} ({len(ordered)} in all)" if more else ", ".join(ordered)
