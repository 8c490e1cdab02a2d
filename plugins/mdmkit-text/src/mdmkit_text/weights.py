"""Load a checkpoint's weights into transformers' own class, and refuse any that do not fit exactly."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError
from mdmkit_text.quiet import quiet
from mdmkit_text.sizes import attention

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mdmkit_text.families.family import Family

_LISTED = 12


def load_model(
    folder: Path, native: Any, config: Any, family: Family, dtype: Any, placed: dict[str, Any] | None = None
) -> Any:
    """Load the model, for evaluation only. On a terminal, a slow load shows its progress.

    Args:
        folder: holds the weights.
        native, config: transformers' model class and its config object, as `family.native` gives them.
        family: the names of the weights.
        dtype: a torch dtype, or `"auto"` for the checkpoint's.
        placed: keywords of `placement`; with a device_map each weight goes to its device as it is read. Without one,
            all stay on the CPU, memory-mapped if the dtype is that of the checkpoint.

    Raises:
        MdmkitError: weights are missing, unexpected or of the wrong shape;
            or transformers cannot build the model.
    """
    try:
        with quiet(progress=True):
            model, report = native.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                key_mapping=family.key_mapping,
                attn_implementation=attention(native),
                output_loading_info=True,
                # Different shapes are in the report, so that all are listed at once.
                ignore_mismatched_sizes=True,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                **(placed or {}),
            )
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
