"""The page that `mdmkit trace` writes: one HTML file with its style, its script and the traces inside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# What could end the script element that holds the data, or start a comment in it.
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def page(documents: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """Build the page of (title, trace) pairs; the traces as `reading.read_trace` returns them."""
    data = [
        {
            "title": title,
            "model": document["model"],
            "sampler": document["sampler"],
            "rows": [_compact(row) for row in document["rows"]],
        }
        for title, document in documents
    ]
    parts = {name: HERE.joinpath(f"page.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    parts["data"] = embedded(data)
    # In one pass, so that nothing in the data is taken for a place to fill.
    return re.sub(r"/\*\{(css|js|data)\}\*/", lambda found: parts[found[1]], parts["html"])


def embedded(data: Any) -> str:
    """JSON that can stand inside a script element whatever the tokens are: pure ASCII without <, > and &."""
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def _compact(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the page's script reads it, its numbers no finer than anybody sees."""
    steps = row.get("steps")
    found = {
        "index": row["index"],
        "seed": row["seed"],
        "nfe": row["nfe"],
        "uncertainty": round(row["uncertainty"], 4),
        "start": row["prompt_tokens"],
        "order": row["order"],
        "confidence": [round(value, 4) for value in row["confidence"]],
        "entropy": [round(value, 4) for value in row["entropy"]],
        "choices": row["choices"],
        "values": row["values"],
        "mask": row["mask_id"],
        "names": row["names"],
        "recorded": steps is not None,
        "steps": steps if steps is not None else _steps(row),
    }
    found |= {key: row[key] for key in ("grid", "entropy_scale") if key in row}
    return found


def _steps(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of a trace without them: each position's last write at its tick."""
    steps: list[dict[str, Any]] = [{"written": []} for _ in row["choices"]]
    for position, tick in enumerate(row["order"]):
        if tick >= 0:
            steps[tick]["written"].append([position, row["tokens"][position]])
    return steps
