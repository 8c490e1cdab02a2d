"""Compare a row that an earlier run has written with what this run would write for the same prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mdmkit.cli.bounds import check_costs, check_text
from mdmkit.cli.rows import check_row
from mdmkit.errors import shown

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.cli.filing import Places
    from mdmkit.decoding.encodings import Encodings
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone

# The fields that the prompt, its own keys and `--output` decide. All others come from the decode.
DECIDED = ("prompt", "seed", "id", "meta", "file")
_NOTHING = object()


class Expected:
    """The rows of a run, as far as they are known before it.

    Args:
        own: index of a prompt -> its own keys, which are written into its row.
        places: knows if a row is a text, or a file with a name.
        indices: of the prompts that this run decodes; of a shard these are not all.
        rule: the name of the sampler's stop rule; empty if it has none.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        own: Mapping[int, dict[str, Any]],
        encodings: Encodings,
        places: Places,
        indices: range,
        rule: str,
    ):
        self.prompts, self.own, self.encodings, self.indices, self.rule = prompts, own, encodings, indices, rule
        self.filing = places.filing

    def check(self, row: Any) -> dict[str, Any]:
        """Return the row.

        Raises:
            ValueError: it is not a row of this run; the text says what is wrong.
        """
        index = check_row(row)["index"]
        if index >= len(self.prompts):
            raise ValueError(f"its 'index' is {index}, of {len(self.prompts)} prompts")
        if index not in self.indices:
            raise ValueError(f"its 'index' is {index}, and this prompt is another shard's")
        prompt = self.prompts[index]
        wanted = {"prompt": prompt.text, "seed": prompt.seed, **self.own.get(index, {})}
        if self.filing is not None:
            wanted["file"] = self.filing.path(index).name
        check_belongs(row, {name: wanted.get(name, _NOTHING) for name in DECIDED}, prompt, self.encodings, self.rule)
        if (row["text"] is None) != (self.filing is not None):
            raise ValueError(f"its 'text' is {shown(row['text'], 60)}")
        return row


def stop_rule(sampler: Sampler) -> str:
    """The name of the sampler's stop rule; empty if it has none."""
    return "" if sampler.stop is None else sampler.name_of("stop")


def check_belongs(
    row: Mapping[str, Any],
    wanted: Mapping[str, Any],
    prompt: Prompt,
    encodings: Encodings,
    rule: str | None = None,
) -> None:
    """Check that a row can be what this prompt was decoded to.

    How many positions share a tick is not compared: the parts of a sampler decide how many tokens a step writes.

    Args:
        wanted: the fields that are known before the decode, and their values.
        prompt: of the index under which it was encoded.
        rule: the name of the sampler's stop rule, which may end a row early; empty: it has none; None: it is not known.

    Raises:
        ValueError: it is not; the text says what is wrong.
    """
    for name, needed in wanted.items():
        found = row.get(name, _NOTHING)
        if _said(found, None) != _said(needed, None):  # as JSON, where 1, 1.0 and true differ
            raise ValueError(f"its {name!r} is {_said(found)}, and that of prompt {row['index']} is {_said(needed)}")
    _check_written(row, encodings.backbone)
    if (canvas := encodings.canvas(prompt)) is not None:
        _check_fits(row, canvas, encodings.plan.room)
        _check_stopped(row, canvas, encodings, rule)
        check_costs(row, canvas, encodings.backbone, encodings.plan.room)
        if not encodings.plan.room:
            check_text(row, canvas, encodings.backbone)


def _check_written(row: Mapping[str, Any], backbone: Backbone) -> None:
    for token, tick in zip(row["tokens"], row["order"], strict=True):
        if tick < 0:  # an image model's prompt tokens may have ids of their own, and a prompt's masks may be text
            continue
        if token >= backbone.vocab:
            raise ValueError(f"its 'tokens' hold {token}, and the model's ids go from 0 to {backbone.vocab - 1}")
        if token == backbone.mask_id:
            raise ValueError(f"its 'tokens' hold {token}, which is the mask's id: this position is not filled")


def _check_stopped(row: Mapping[str, Any], canvas: Canvas, encodings: Encodings, rule: str | None) -> None:
    """Compare how a row ended with its tokens: unless an end token or the stop rule ended it, it is full."""
    infill, stopped, tokens = bool(canvas.infill[0]), row["stopped"], row["tokens"]
    if stopped == "end" and not infill:
        if not {*encodings.backbone.ends} & {*tokens}:
            raise ValueError("its 'stopped' is 'end', and no end token is among its 'tokens'")
    elif stopped == ("filled" if infill else "length"):
        full = int(canvas.shown.sum())
        if len(tokens) < full and not encodings.plan.room:
            raise ValueError(f"its 'tokens' are {len(tokens)}, and prompt {row['index']} has {full} when it is full")
    elif rule is not None and (stopped != rule or not rule):
        raise ValueError(f"its 'stopped' is {shown(stopped, 60)}, and no rule of the sampler has this name")


def _check_fits(row: Mapping[str, Any], canvas: Canvas, room: int) -> None:
    """Compare a row with its prompt's canvas. A commit may have added or removed `room` positions at its end."""
    needed = canvas.tokens[canvas.valid if canvas.infill[0] else canvas.fixed].tolist()
    ids, tokens = row["prompt_ids"], row["tokens"]
    both = min(len(ids), len(needed)) if room else max(len(ids), len(needed))
    if ids[:both] != needed[:both]:
        raise ValueError(f"its 'prompt_ids' are {shown(ids, 60)}, not those of prompt {row['index']}")
    most = int(canvas.shown.sum()) + room
    if len(tokens) > most:
        raise ValueError(f"its 'tokens' are {len(tokens)}, and prompt {row['index']} has {most} at most")
    given = canvas.tokens[canvas.fixed & canvas.infill[:, None]].tolist()
    kept = [token for token, tick in zip(tokens, row["order"], strict=True) if tick < 0]
    if not room and kept != given:
        raise ValueError(f"its 'order' is -1 at the tokens {shown(kept, 60)}, and the prompt's are {shown(given, 60)}")


def _said(value: Any, most: int | None = 60) -> str:
    if value is _NOTHING:
        return "missing"
    return json.dumps(value, sort_keys=True) if most is None else shown(value, most)
