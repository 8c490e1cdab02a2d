"""The settings of a config.json for positions, in one form.

transformers 4 wrote `rope_theta`, `rope_scaling` and `partial_rotary_factor`; transformers 5 writes all of them into
`rope_parameters`. The trunk reads the first spelling.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mdmkit import MdmkitError, shown

_SOURCES = ("rope_parameters", "rope_scaling")
_AT_TOP = ("rope_theta", "partial_rotary_factor")


def read_rope(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return a config whose settings for positions are all at its top; settings that change nothing are dropped.

    Raises:
        MdmkitError: a value of the wrong kind, two different values for one setting, or positions that are scaled.
    """
    found = {name: value for name, value in config.items() if name not in _SOURCES}
    for source in _SOURCES:
        given = config.get(source)
        if given is None:
            continue
        if not isinstance(given, dict):
            raise MdmkitError(
                f"{folder}: config.json must give {source} as an object or null, and gives {shown(given)}."
            )
        parts = dict(given)
        for field in _AT_TOP:
            _raise(folder, found, source, field, parts.pop(field, None))
        kinds = [parts.pop(name, None) for name in ("type", "rope_type")]
        if parts or any(kind not in (None, "default") for kind in kinds):
            raise MdmkitError(
                f"{folder}: config.json says {source}={shown(given)}, and LLaDA turns positions unscaled, in the same "
                f"way in every layer. If the model was trained so, remove {source}; otherwise it cannot be loaded."
            )
    return found


def _raise(folder: Path, config: dict[str, Any], source: str, field: str, value: Any) -> None:
    """Put a setting at the top of a config, unless it is there already."""
    if value is None:
        return
    known = config.get(field)
    if known is not None and known != value:
        raise MdmkitError(
            f"{folder}: config.json contradicts itself: its {field} is {shown(known)}, and {source}.{field} is "
            f"{shown(value)}. Keep the one with which it was trained."
        )
    config[field] = value
