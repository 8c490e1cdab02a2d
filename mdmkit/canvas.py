"""The canvas: what is being filled in, one row per prompt, padded on the left."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mdmkit.errors import MdmkitError


@dataclass(frozen=True)
class Prompt:
    """One request: a text, a conversation or token ids, its random seed, and its own options.

    Attributes:
        text: what the user wrote; of a conversation, its last message.
        ids: token ids, taken as they are.
        seed: of the row.
        length: how many masks to append; None leaves that to the plan and the model.
        infill: False: masks inside the prompt are ordinary tokens and stay, and `[MASK:8]` is text.
        index: its place among the prompts.
        messages: a conversation, (role, content) each; it goes through the model's chat template.
        chat: whether a text goes through the chat template too; None leaves that to the model.
        system: the system message before a text.
        suffix: text after the appended masks.
        chat_options: variables of the chat template, such as `{"enable_thinking": False}`.
    """

    text: str | None = None
    ids: tuple[int, ...] | None = None
    seed: int = 0
    length: int | None = None
    infill: bool = True
    index: int = 0
    messages: tuple[tuple[str, str], ...] | None = None
    chat: bool | None = None
    system: str | None = None
    suffix: str | None = None
    chat_options: Mapping[str, Any] | None = None

    def read(self) -> Prompt:
        """Give the prompt without what a backbone has put into the ids: `lay_out` refuses what nothing has read."""
        return replace(self, messages=None, chat=None, system=None, suffix=None, chat_options=None)


@dataclass(frozen=True)
class Canvas:
    """B rows of T tokens, and which of them are to be filled.

    Attributes:
        tokens: int64 [B, T].
        editable: bool [B, T]; False for the prompt, padding and given context.
        valid: bool [B, T]; False for padding, which nothing attends to.
        seed: int64 [B]; each row's random stream travels with the row.
        infill: bool [B]; whether the row's prompt held the masks itself.
        mask_id: the token id that stands for "still open".
        grid: (height, width) where the sequence is a flattened image.
        block: length of the model's attention blocks, counted from each row's first token; None: attention is full.
        surplus: bool [B, T]; masks that only complete a model's block: they are filled, and shown to nobody.
    """

    tokens: Tensor
    editable: Tensor
    valid: Tensor
    seed: Tensor
    infill: Tensor
    mask_id: int
    grid: tuple[int, int] | None = None
    block: int | None = None
    surplus: Tensor | None = None

    @property
    def masked(self) -> Tensor:
        """bool [B, T]: still open. `editable` decides, so a mask id kept in a prompt is never touched."""
        return (self.tokens == self.mask_id) & self.editable

    @property
    def positions(self) -> Tensor:
        """int64 [B, T]: each token's place in its own row, whatever the padding; 0 on padding."""
        return (self.valid.long().cumsum(1) - 1).clamp_min(0)

    @property
    def shown(self) -> Tensor:
        """bool [B, T]: what a person asked to see: the generated tokens, or for an infill the whole row."""
        shown = torch.where(self.infill[:, None], self.valid, self.editable)
        return shown if self.surplus is None else shown & ~self.surplus

    def with_tokens(self, tokens: Tensor) -> Canvas:
        return replace(self, tokens=tokens)

    def to(self, device: torch.device | str) -> Canvas:
        moved = {name: getattr(self, name).to(device) for name in ("tokens", "editable", "valid", "seed", "infill")}
        surplus = None if self.surplus is None else self.surplus.to(device)
        return replace(self, **moved, surplus=surplus)


def _require_read(prompt: Prompt) -> None:
    for key in ("messages", "chat", "system", "suffix", "chat_options"):
        if getattr(prompt, key) not in (None, False):
            raise MdmkitError(
                f"prompt {prompt.index}: this model takes texts and token ids as they are, and {key!r} is given. Leave "
                f"it out{', or write masks and what follows into the prompt' if key == 'suffix' else ''}; chat "
                "templates and suffixes are for models with a tokenizer of transformers (mdmkit-text)."
            )


def _shorten(length: int, given: int, limit: int, block: int | None) -> str:
    """What to do about a row that is too long; `block`: where its last block is completed."""
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
    mask_id: int,
    pad_id: int,
    vocab: int,
    plan_length: int | None,
    default_length: int | None,
    max_length: int | None,
    block: int | None = None,
) -> Canvas:
    """Put encoded prompts on one canvas: `before`, appended masks, `after`, padded on the left.

    A prompt that holds masks is an infill and gets no more of them, unless the prompt itself gives `length`. Any
    other prompt gets its own `length`, else the plan's, else the model's default. With `block`, the length of a
    model's attention blocks, a row that ends in appended masks gets as many more as complete its last block, since
    such a model has only ever seen whole ones.

    Raises:
        MdmkitError: no length is known, a row exceeds `max_length` tokens, an id is outside `vocab`, or a prompt asks
            for a chat template or a suffix and the backbone has not read it (see `Prompt.read`).
    """
    rows: list[list[int]] = []
    open_flags: list[list[bool]] = []
    infill: list[bool] = []
    extra: list[int] = []
    for prompt, head, tail in zip(prompts, before, after, strict=True):
        name = f"prompt {prompt.index}"
        _require_read(prompt)
        bad = [i for i in (*head, *tail) if not 0 <= i < vocab]
        if bad:
            raise MdmkitError(
                f"{name}: token id {bad[0]} is outside the model's vocabulary of {vocab} ids (0 to {vocab - 1})."
            )
        held = prompt.infill and mask_id in (*head, *tail)
        length = prompt.length if prompt.length is not None else 0 if held else plan_length
        if length is None:
            length = default_length
        if length is None:
            raise MdmkitError(
                f"{name} has nothing to fill: it holds no mask, and this model has no length of its own. Put masks "
                "into the prompt, or say how many to append: --set plan.length=N, or max_new_tokens=N in generate."
            )
        spare = -(len(head) + length) % block if block and length and not tail else 0
        given, size = len(head) + len(tail), len(head) + length + len(tail) + spare
        if size > (max_length or math.inf):
            raise MdmkitError(
                f"{name} needs {size} positions ({given} of prompt, {length + spare} to fill), and this model "
                f"has {max_length}. {_shorten(length, given, max_length or 0, block if not tail else None)}"
            )
        row = [*head, *[mask_id] * (length + spare), *tail]
        own = range(len(head), len(head) + length + spare)
        extra.append(spare)
        rows.append(row)
        open_flags.append([i in own or (prompt.infill and token == mask_id) for i, token in enumerate(row)])
        infill.append(held)
    width = max(1, *(len(row) for row in rows)) if rows else 1
    return Canvas(
        tokens=torch.tensor([[pad_id] * (width - len(row)) + row for row in rows]),
        editable=torch.tensor([[False] * (width - len(row)) + row for row in open_flags]),
        valid=torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows]),
        seed=torch.tensor([prompt.seed for prompt in prompts]),
        infill=torch.tensor(infill),
        mask_id=mask_id,
        block=block,
        surplus=torch.tensor([[t >= width - spare for t in range(width)] for spare in extra]) if any(extra) else None,
    )
