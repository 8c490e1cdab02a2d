"""What the cost, the uncertainty and the text of a row that is read again can be, given its tokens and its prompt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mdmkit.cli.rows import ROUNDED
from mdmkit.errors import shown

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.model.backbone import Backbone


def check_costs(row: Mapping[str, Any], canvas: Canvas, backbone: Backbone, room: int) -> None:
    """Compare the tokens computed and the uncertainty with the most that the row's forwards allow.

    Args:
        canvas: of the row's prompt, [1, T].
        room: positions that may be added to it.

    Raises:
        ValueError: one is larger; the text says what is possible.
    """
    columns, nfe = canvas.tokens.shape[1] + room, row["nfe"]
    most = 2 * columns * nfe  # at most one shadow column beside each column
    if row["row_tokens"] > most:
        raise ValueError(f"its 'row_tokens' is {row['row_tokens']}, and {nfe} forwards of it compute {most} at most")
    # A step writes each position at most once, and the entropy there is at most that of all ids alike.
    nats = columns * nfe * math.log(backbone.vocab)
    if row["uncertainty"] > 1.01 * nats + ROUNDED:
        raise ValueError(f"its 'uncertainty' is {row['uncertainty']}, and {nats:.1f} nats is the most it can be")


def check_text(row: Mapping[str, Any], canvas: Canvas, backbone: Backbone) -> None:
    """Compare the text with that of the tokens.

    If the row ended early, it is not known which positions were left out. Then the text is compared only if the model
    cuts texts at an end token, and the row has one.

    Raises:
        ValueError: it is another text.
        MdmkitError: the model cannot decode the tokens.
    """
    from mdmkit.loop.asking import Asking  # this imports torch

    if not isinstance(row["text"], str):
        return
    with Asking(backbone, "decode"):
        texts = {backbone.decode(filled)[0] for filled in _filled(row["tokens"], canvas, backbone)}
    if len(texts) == 1 and texts != {row["text"]}:
        raise ValueError(f"its 'text' is {shown(row['text'], 60)}, and that of its 'tokens' {shown(texts.pop(), 60)}")


def _filled(tokens: list[int], canvas: Canvas, backbone: Backbone) -> Iterator[Canvas]:
    """The canvas with a row's tokens; in two ways if the row lacks some, and in none if they cannot be compared."""
    import torch

    place = canvas.shown
    ends, lacks = [*backbone.ends], int(place.sum()) - len(tokens)
    first = next((i for i, token in enumerate(tokens) if token in ends), None)
    if lacks < 0 or (lacks and first is None):
        return
    closing = ends[0] if ends else backbone.pad_id
    rows = [tokens + [closing] * lacks]
    if lacks and first is not None:
        rows.append(tokens[: first + 1] + [closing] * (len(tokens) + lacks - first - 1))
    for row in rows:
        whole = canvas.filled(canvas.open, torch.full_like(canvas.tokens, closing))
        yield whole.filled(place, whole.tokens.masked_scatter(place, torch.tensor(row, dtype=whole.tokens.dtype)))
