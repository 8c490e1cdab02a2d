"""Load a checkpoint's weights into transformers' own class, and refuse any that do not fit exactly."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from mdmkit import MdmkitError
from mdmkit_text.quiet import quiet
from mdmkit_text.skeleton import attention

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
        MdmkitError: weights are missing, unexpected or of the wrong shape, or contradict the config; or transformers
            cannot build the model.
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
    _check_tied(folder, model, config)
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


def _check_tied(folder: Path, model: Any, config: Any) -> None:
    """Refuse two different embeddings where the config says that there is one: transformers would keep both."""
    if not getattr(config, "tie_word_embeddings", False):
        return
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    rows, columns = getattr(embedding, "weight", None), getattr(head, "weight", None)
    if rows is None or columns is None or rows.data_ptr() == columns.data_ptr() or rows.shape != columns.shape:
        return
    if not torch.equal(rows, columns):
        raise MdmkitError(
            f"{folder}: config.json says that input and output share one embedding (tie_word_embeddings or "
            "weight_tying), and the weights hold two different ones. Correct config.json: false, if the model was "
            "trained with both."
        )


def _listing(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return f"{', '.join(ordered[:_LISTED])}{more} ({len(ordered)} in all)" if more else ", ".join(ordered)
