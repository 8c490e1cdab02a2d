"""Records of a run as a full disk, an editor or another program leaves them, for every command that reads one."""

from __future__ import annotations

import json
from typing import Any


def without_keys(record: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What has not the keys of a record: a name -> the text of the file, and what an error says of it."""
    whole = json.dumps(record)
    return {
        "empty": ("", "it is not JSON"),
        "cut": (whole[: len(whole) // 2], "it is not JSON"),
        "zeros": ("\0" * 100, "it is not JSON"),
        "deep": ("[" * 100_000, "it is not JSON"),
        "digits": ('{"run": ' + "9" * 5000 + "}", "it is not JSON"),
        "null": ("null", "it is None"),
        "list": ("[1]", "it is [1]"),
        "no run": ("{}", "it has no 'run'"),
        "no waiting": (json.dumps({"run": record["run"]}), "it has no 'waiting'"),
        "a key twice": (whole[:-1] + ', "waiting": []}', "the key 'waiting' stands twice in one object"),
        "one key more": (json.dumps(record | {"mine": 1}), "it has a 'mine'"),
    }


def damaged(record: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What has the keys of a record, and a value that is none: as `without_keys`."""
    run = record["run"]
    documents: dict[str, tuple[dict[str, Any], str]] = {
        "slots infinite": (record | {"slots": {"0": float("inf")}}, "its 'slots' holds inf, which is no whole number"),
        "slots 0": (record | {"slots": {"0": 0}}, "its 'slots' holds 0, which is no whole number from 1"),
        "slots true": (record | {"slots": {"0": True}}, "its 'slots' holds True"),
        "slots of -1": (record | {"slots": {"-1": 1}}, "its 'slots' has the key '-1', which is no index"),
        "slots of 0 and 00": (
            record | {"slots": {"0": 1, "00": 2}},
            "its 'slots' name one prompt by two keys: '0, 00'",
        ),
        "slots list": (record | {"slots": [1]}, "its 'slots' is [1], which is no object"),
        "batch": (record | {"batch": float("nan")}, "its 'batch' is nan, which is no whole number from 1"),
        "waiting": (record | {"waiting": "ab"}, "its 'waiting' is 'ab', which is no list"),
        "run": (record | {"run": 5}, "its 'run' is 5"),
        "prompts": (record | {"run": run | {"prompts": [1]}}, "the 'prompts' of its run are [1]"),
    }
    for key, value in {"options": 3, "number": -5, "sha256": None}.items():
        changed = run | {"prompts": run["prompts"] | {"sha256": "another", key: value}}
        documents[key] = (
            record | {"run": changed},
            f"the {key!r} of its prompts {'are' if key == 'options' else 'is'}",
        )
    if "contents" in run:
        documents["contents"] = (record | {"run": run | {"contents": None}}, "the 'contents' of its run are None")
        for key in ("model", "files"):
            changed = run | {"contents": run["contents"] | {key: 3}}
            documents[key] = (record | {"run": changed}, f"the {key!r} of its contents is 3")
    return {name: (json.dumps(document), said) for name, (document, said) in documents.items()}
