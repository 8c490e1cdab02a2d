"""Encoded prompts, laid out on one canvas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mdmkit.canvas.canvas import Canvas
from mdmkit.canvas.prompt import Prompt
from mdmkit.errors import MdmkitError

# In the ids of a text, one position to fill. Where the mask's own id stands, `Prompt.infill` decides.
OPEN = -1


def _require_read(prompt: Prompt) -> None:
    if prompt.inputs:
        raise MdmkitError(
            f"prompt {prompt.index}: {', '.join(map(repr, prompt.inputs))} cannot be given to this model, which takes "
            "texts and token ids only. Leave it out, or use a model that draws (mdmkit-image)."
        )
    for key in ("messages", "chat", "system", "suffix", "chat_options"):
        if getattr(prompt, key) not in (None, False):
            raise MdmkitError(
                f"prompt {prompt.index}: this model takes texts and token ids as they are, and {key!r} is given. Leave "
                f"it out{', or write masks and what follows into the prompt' if key == 'suffix' else ''}; chat "
                "templates and suffixes are for models with a tokenizer of transformers (mdmkit-text)."
            )


def _shorten(length: int, given: int, limit: int, block: int | None) -> str:
    """The advice for a row that is too long. `block`: length of the model's blocks, if the last one is completed."""
    room = limit - limit % (block or 1) - given
    if not length or (room < 1 and not block):
        return f"Shorten the prompt by {length + given - limit} tokens."
    if room < 1:
        return f"Shorten the prompt by {1 - room} tokens at least."
    return f"Shorten the prompt, or append at most {room} masks (plan.length, or the prompt's own length)."


def lay_out(
    prompts: Sequence[Prompt],
    before: Sequence[Sequence[int]],
    after: Sequence[Sequence[int]],
    *,
    mask_id: int | None,
    pad_id: int,
    vocab: int,
    plan_length: int | None = None,
    default_length: int | None = None,
    max_length: int | None = None,
    block: int | None = None,
) -> Canvas:
    """Put encoded prompts on one canvas: `before`, appended masks, `after`, padded on the right.

    In the ids of a text, −1 is a position to fill; the mask's id is one too, unless the prompt's `infill` is False. A
    prompt that holds such positions is an infill, and no masks are appended unless the prompt has a `length`. Otherwise
    the number of appended masks is the prompt's `length`, else the plan's, else the model's default. `block` is the
    length of the model's attention blocks. If a row ends in appended masks, more masks complete its last block, because
    the model was trained on whole blocks only.

    Raises:
        MdmkitError: no length is known, a row exceeds `max_length` tokens, an id is outside `vocab`, or a prompt asks
            for a chat template or a suffix that the backbone has not read (see `Prompt.read`).
    """
    rows = [
        _row(prompt, list(head), list(tail), mask_id, vocab, (plan_length, default_length, max_length), block)
        for prompt, head, tail in zip(prompts, before, after, strict=True)
    ]
    width = max((len(row.tokens) for row in rows), default=1) or 1

    def laid(values: Sequence[Sequence[Any]], fill: Any) -> Tensor:
        return torch.tensor([[*row, *[fill] * (width - len(row))] for row in values]).reshape(len(rows), width)

    return Canvas(
        tokens=laid([row.tokens for row in rows], pad_id).long(),
        open=laid([row.open for row in rows], False).bool(),
        editable=laid([row.open for row in rows], False).bool(),
        valid=laid([[True] * len(row.tokens) for row in rows], False).bool(),
        seed=torch.tensor([prompt.seed for prompt in prompts], dtype=torch.long),
        infill=torch.tensor([row.infill for row in rows], dtype=torch.bool),
        surplus=laid([[*[False] * (len(row.tokens) - row.spare), *[True] * row.spare] for row in rows], False).bool(),
        mask_id=mask_id,
        block=block,
    )


@dataclass(frozen=True)
class _Row:
    """One row as lists; its last `spare` positions only complete the model's block."""

    tokens: list[int]
    open: list[bool]
    infill: bool
    spare: int


def _row(
    prompt: Prompt,
    head: list[int],
    tail: list[int],
    mask_id: int | None,
    vocab: int,
    lengths: tuple[int | None, int | None, int | None],
    block: int | None,
) -> _Row:
    name, (plan_length, default_length, max_length) = f"prompt {prompt.index}", lengths
    _require_read(prompt)
    given = (*head, *tail)
    bad = [i for i in given if not 0 <= i < vocab and (i != OPEN or prompt.ids is not None or mask_id is None)]
    if bad:
        raise MdmkitError(
            f"{name}: token id {bad[0]} is outside the model's vocabulary of {vocab} ids (0 to {vocab - 1})."
        )
    own = {OPEN} if prompt.infill is False else {OPEN, mask_id}
    held = mask_id is not None and not own.isdisjoint(given)
    length = prompt.length if prompt.length is not None else 0 if held else plan_length
    if length is None:
        length = default_length
    if length is None:
        raise MdmkitError(
            f"{name} has nothing to fill: it holds no mask, and this model has no length of its own. Put masks "
            "into the prompt, or say how many to append: --set plan.length=N, or max_new_tokens=N in generate."
        )
    spare = -(len(head) + length) % block if block and length and not tail else 0
    size = len(given) + length + spare
    if size > (max_length or math.inf):
        raise MdmkitError(
            f"{name} needs {size} positions ({len(given)} of prompt, {length + spare} to fill), and this model "
            f"has {max_length}. {_shorten(length, len(given), max_length or 0, block if not tail else None)}"
        )
    blank = 0 if mask_id is None else mask_id
    laid = [*head, *[OPEN] * (length + spare), *tail]
    tokens = [blank if token == OPEN else token for token in laid]
    return _Row(tokens, [token in own if held else token == OPEN for token in laid], held, spare)
