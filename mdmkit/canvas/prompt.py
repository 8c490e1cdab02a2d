"""A request: what the user asks for, before a backbone has encoded it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


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
        inputs: what a model takes beside a text, by name, such as `{"image": "in.png", "mask": "mask.png"}`.
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
    inputs: Mapping[str, Any] | None = None

    def read(self) -> Prompt:
        """Give the prompt without what a backbone has put into the ids: `lay_out` refuses what nothing has read."""
        return replace(self, messages=None, chat=None, system=None, suffix=None, chat_options=None)
