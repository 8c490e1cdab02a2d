"""Conversations as text, by the tokenizer's chat template."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from mdmkit import Prompt

_BASE = {"base", "pretrain", "pretrained"}
_TUNED = {"instruct", "chat", "sft", "it", "rl", "rlhf"}


def is_base(ref: str) -> bool:
    """Return True if a model's name shows that it was not trained on conversations: `…-Base`, and no `…-Instruct`."""
    if not ref:
        return False
    path = Path(ref).expanduser()
    name = path.name or path.resolve().name
    if path.parent.name == "snapshots":  # the hub's cache: models--ORGANISATION--NAME/snapshots/REVISION
        name = path.parent.parent.name
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return bool(words & _BASE) and not words & _TUNED


def render(tokenizer: Any, prompt: Prompt, ref: str) -> str:
    """Write a conversation, or a text as the only message, in the tokenizer's template, up to the answer.

    If the last turn is the assistant's, it is the beginning of the answer: it is not closed, and no new one begins.

    The text holds all special tokens of the template, so tokenizing must add none.

    Raises:
        MdmkitError: there is no template, or it refuses the conversation.
    """
    if not tokenizer.chat_template:
        raise MdmkitError(
            f"prompt {prompt.index} asks for the chat template, and model {ref!r} has none. Give it plain text "
            "(--no-chat, no messages, no system message), or put the model's template beside its config.json as "
            "chat_template.jinja."
        )
    said = prompt.messages or (("user", prompt.text or ""),)
    if prompt.system is not None:
        said = (("system", prompt.system), *said)
    messages = [{"role": role, "content": content} for role, content in said]
    options = prompt.chat_options or {}
    try:
        template = tokenizer.get_chat_template()
        for name in options:
            if not re.search(rf"\b{re.escape(name)}\b", template):  # a template ignores options that it does not know
                raise MdmkitError(f"prompt {prompt.index}: the chat template of model {ref!r} has no option {name!r}.")
        continued = said[-1][0] == "assistant"
        return tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=not continued,
            continue_final_message=continued,
            tokenize=False,
            **options,
        )
    except MdmkitError:
        raise
    except Exception as error:  # the code of a template may raise anything
        raise MdmkitError(
            f"prompt {prompt.index}: the chat template of model {ref!r} cannot write this conversation of "
            f"{', '.join(role for role, _ in said)}: {' '.join(str(error).split()).rstrip('.')}. Keep to the roles "
            "and options that the template knows, correct it, or give plain text without it (--no-chat)."
        ) from error
