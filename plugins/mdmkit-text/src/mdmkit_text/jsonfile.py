"""Read a JSON object from a file; errors say what is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from pathlib import Path


def read_object(path: Path) -> dict[str, Any]:
    """Read a file with one JSON object.

    Raises:
        MdmkitError: the file cannot be read, is not JSON (with line and column), or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise MdmkitError(f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise MdmkitError(f"{path} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise MdmkitError(f"{path} must hold a JSON object, and holds a {type(content).__name__}.")
    return content


def brief(value: Any, limit: int = 200) -> str:
    """Write a value from a JSON file for an error, cut to `limit` characters."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
