"""Conversations of lm-evaluation-harness, written in the tokenizer's chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mdmkit import MdmkitError


def find(tokenizer: Any, model: str, asked: bool | str) -> str:
    """Find the template: the tokenizer's own, or one of its several by name.

    Raises:
        MdmkitError: it has none, or none of this name.
    """
    there = tokenizer.chat_template
    if not there:
        raise MdmkitError(f"model {model} has no chat template: leave out --apply_chat_template.")
    named = there if isinstance(there, dict) else {}
    if isinstance(asked, str) and asked not in named:
        have = f"it has {', '.join(map(repr, sorted(named)))}" if named else "it has one, without a name"
        raise MdmkitError(
            f"model {model} has no chat template {asked!r}: {have}. Give one of its names to --apply_chat_template, or "
            "none."
        )
    return str(tokenizer.get_chat_template(asked if isinstance(asked, str) else None))


def write(
    tokenizer: Any, model: str, template: str, messages: Sequence[dict[str, str]], add_generation_prompt: bool
) -> str:
    """Write a conversation up to the answer. Without a generation prompt, its last message is continued.

    If the template writes the token for the beginning, and tokenizing adds it too, it is left out here.

    Raises:
        MdmkitError: the template refuses the conversation, such as a system message.
    """
    try:
        text = str(
            tokenizer.apply_chat_template(
                list(messages), chat_template=template, tokenize=False, add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )  # fmt: skip
    except Exception as error:  # the code of a template may raise anything
        roles = ", ".join(message["role"] for message in messages)
        advice = "leave out --system_instruction" if "system" in roles else "ask without --apply_chat_template"
        raise MdmkitError(
            f"the chat template of model {model} cannot write a conversation of {roles}: "
            f"{' '.join(str(error).split()).rstrip('.')[:300]}. Perhaps it does not know one of these roles: {advice}, "
            "or choose another template by its name."
        ) from error
    start = tokenizer.bos_token
    added = start and tokenizer("a", verbose=False)["input_ids"][:1] == [tokenizer.bos_token_id]
    return text.removeprefix(start) if added else text
