"""A prompt, before a backbone has encoded it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Prompt:
    """One prompt: a text, a conversation or token ids, with a seed and options.

    Attributes:
        text: the user's text; of a conversation, the last message.
        ids: token ids, taken as they are.
        seed: the row's seed.
        length: how many masks to append; None: the plan or the model decides.
        infill: True: masks in the prompt are filled. False: they are ordinary tokens and stay, and `[MASK:8]` is text.
            None: True, except in a chat template, where a mask that somebody writes about is text.
        index: its index among all prompts.
        messages: a conversation of (role, content) pairs, for the model's chat template.
        chat: True: put the text into the chat template; None: the model decides.
        system: the system message before a text.
        suffix: text after the appended masks.
        chat_options: variables of the chat template, such as `{"enable_thinking": False}`.
        inputs: other inputs of the model, by name, such as `{"image": "in.png", "mask": "mask.png"}`.
        rule: what a constraint that is `per_prompt` asks of the answer, such as `{"name": "choices", "of": ["a", "b"]}`
    """

    text: str | None = None
    ids: tuple[int, ...] | None = None
    seed: int = 0
    length: int | None = None
    infill: bool | None = None
    index: int = 0
    messages: tuple[tuple[str, str], ...] | None = None
    chat: bool | None = None
    system: str | None = None
    suffix: str | None = None
    chat_options: Mapping[str, Any] | None = None
    inputs: Mapping[str, Any] | None = None
    rule: Mapping[str, Any] | None = None

    def read(self) -> Prompt:
        """Return the prompt without the options that a backbone has put into the ids: `lay_out` refuses all others."""
        return replace(self, messages=None, chat=None, system=None, suffix=None, chat_options=None)
