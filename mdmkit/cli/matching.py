"""Compare a row that an earlier run has written with what this run would write for the same prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mdmkit.cli.rows import check_row
from mdmkit.errors import shown

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.cli.filing import Places
    from mdmkit.decoding.encodings import Encodings

# The fields that the prompt, its own keys and `--output` decide. All others come from the decode.
DECIDED = ("prompt", "seed", "id", "meta", "file")
_NOTHING = object()


class Expected:
    """The rows of a run, as far as they are known before it.

    Args:
        own: index of a prompt -> its own keys, which are written into its row.
        places: knows if a row is a text, or a file with a name.
    """

    def __init__(
        self, prompts: Sequence[Prompt], own: Mapping[int, dict[str, Any]], encodings: Encodings, places: Places
    ):
        self.prompts, self.own, self.encodings = prompts, own, encodings
        self.filing = places.filing

    def check(self, row: Any) -> dict[str, Any]:
        """Return the row.

        Raises:
            ValueError: it is not a row of this run; the text says what is wrong.
        """
        index = check_row(row)["index"]
        if index >= len(self.prompts):
            raise ValueError(f"its 'index' is {index}, of {len(self.prompts)} prompts")
        wanted = self._wanted(index)
        for name in DECIDED:
            found, needed = row.get(name, _NOTHING), wanted.get(name, _NOTHING)
            if found != needed:
                raise ValueError(f"its {name!r} is {_said(found)}, and that of prompt {index} is {_said(needed)}")
        if (row["text"] is None) != (self.filing is not None):
            raise ValueError(f"its 'text' is {shown(row['text'], 60)}")
        canvas = self.encodings.canvas(self.prompts[index])
        if canvas is not None and not _begins(row["prompt_ids"], canvas):
            raise ValueError(f"its 'prompt_ids' are {shown(row['prompt_ids'], 60)}, not those of prompt {index}")
        return row

    def _wanted(self, index: int) -> dict[str, Any]:
        prompt = self.prompts[index]
        wanted = {"prompt": prompt.text, "seed": prompt.seed, **self.own.get(index, {})}
        if self.filing is not None:
            wanted["file"] = self.filing.path(index).name
        return json.loads(json.dumps(wanted))


def _begins(ids: list[int], canvas: Canvas) -> bool:
    """True if these are the ids of the canvas's prompt. A commit may have added or removed positions behind them."""
    given = canvas.valid & (canvas.infill[:, None] | ~canvas.editable)
    needed = canvas.tokens[given].tolist()
    both = min(len(ids), len(needed)) if canvas.room else max(len(ids), len(needed))
    return ids[:both] == needed[:both]


def _said(value: Any) -> str:
    return "missing" if value is _NOTHING else shown(value, 60)
