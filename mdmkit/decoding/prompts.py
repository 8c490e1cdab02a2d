"""Read prompts as a user writes them: texts, ids, conversations, mappings with options of a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mdmkit.canvas.prompt import Prompt
from mdmkit.errors import MdmkitError, shown, unknown
from mdmkit.noise import row_seed
from mdmkit.settings.numbers import own as own_number
from mdmkit.settings.plan import LONGEST_ROW

PromptLike = str | Sequence[int] | Mapping[str, Any] | Prompt
# A mapping has exactly one of these keys.
SOURCES = ("prompt", "prompt_ids", "messages")
KEYS = (*SOURCES, "seed", "length", "infill", "chat", "system", "suffix", "chat_options", "inputs", "rule")
KINDS = {"prompt": str, "seed": int, "length": int, "infill": bool, "chat": bool, "system": str, "suffix": str}
KINDS |= {"chat_options": dict, "inputs": dict, "rule": dict}
# Options for texts, and options of the chat template.
OF_TEXTS, OF_CHAT = ("chat", "system", "suffix", "chat_options"), ("system", "chat_options")


def read_prompts(prompts: Iterable[PromptLike], seed: int) -> list[Prompt]:
    """Turn the user's prompts into `Prompt`s, each with its seed."""
    return list(each_prompt(prompts, seed))


def each_prompt(prompts: Iterable[PromptLike], seed: int) -> Iterator[Prompt]:
    """Turn the user's prompts into `Prompt`s one by one, when they are needed."""
    if isinstance(prompts, str | Mapping | Prompt) or not isinstance(prompts, Iterable):
        raise MdmkitError(f"prompts is a list of prompts, not {shown(prompts)}: wrap a single prompt in [ ].")
    if not isinstance(seed := own_number(seed), int):
        raise MdmkitError(f"seed is a whole number, not {seed!r}.")
    return (as_prompt(prompt, index, seed) for index, prompt in enumerate(prompts))


def as_prompt(given: PromptLike, index: int, seed: int) -> Prompt:
    """Read one prompt, with index `index` in a run with seed `seed`."""
    own = row_seed(seed, index)
    if isinstance(given, Prompt):
        return _from_mapping(_told(given), index, own)
    if isinstance(given, str):
        return Prompt(text=given, seed=own, index=index)
    if isinstance(given, Mapping):
        return _from_mapping(given, index, own)
    return Prompt(ids=_ids(given, index), seed=own, index=index)


def _from_mapping(given: Mapping[str, Any], index: int, own: int) -> Prompt:
    given = {key: own_number(value) for key, value in given.items()}
    for key in given:
        if key not in KEYS:
            raise MdmkitError(f"prompt {index}: {unknown('key', str(key), KEYS)}")
    if sum(key in given for key in SOURCES) != 1:
        raise MdmkitError(
            f"prompt {index}: give either 'prompt' (a text), 'prompt_ids' (a list of token ids) or 'messages' (a "
            "conversation)."
        )
    for key, kind in KINDS.items():
        if key in given and (not isinstance(given[key], kind) or (kind is int and isinstance(given[key], bool))):
            raise MdmkitError(f"prompt {index}: {key!r} must be {kind.__name__}, not {shown(given[key])}.")
    if not 0 <= given.get("length", 0) <= LONGEST_ROW:
        raise MdmkitError(
            f"prompt {index}: 'length' is the number of masks to append, 0 to {LONGEST_ROW}, not "
            f"{shown(given['length'])}."
        )
    if not -(1 << 63) <= given.get("seed", 0) < 1 << 63:
        raise MdmkitError(f"prompt {index}: 'seed' must fit in 64 bits, and {shown(given['seed'])} does not.")
    messages = _messages(given["messages"], index) if "messages" in given else None
    _check_chat(given, messages, index)
    return Prompt(
        text=messages[-1][1] if messages else given.get("prompt"),
        ids=_ids(given["prompt_ids"], index) if "prompt_ids" in given else None,
        seed=given.get("seed", own),
        length=given.get("length"),
        infill=given.get("infill"),
        index=index,
        messages=messages,
        chat=given.get("chat"),
        system=given.get("system"),
        suffix=given.get("suffix"),
        chat_options=given.get("chat_options"),
        inputs=given.get("inputs"),
        rule=given.get("rule"),
    )


def with_defaults(
    prompts: Sequence[Prompt],
    *,
    chat: bool | None = None,
    infill: bool | None = None,
    system: str | None = None,
    suffix: str | None = None,
    chat_options: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> list[Prompt]:
    """Add the command line's options to all texts; `infill` also to token ids. A prompt's own options stay.

    Raises:
        MdmkitError: no prompt can take an option, or an option is for the template and `chat` is False.
    """
    of_chat = {"--system": system, "--chat-option": chat_options or None}
    given = {"--chat": chat or None, **of_chat, "--suffix": suffix}
    given |= {f"--{key}": value for key, value in (inputs or {}).items()}
    named = next((name for name, value in given.items() if value is not None), None)
    if named and prompts and all(prompt.ids is not None for prompt in prompts):
        raise MdmkitError(f"{named} is for texts, and every prompt is token ids, which are taken as they are.")
    named = next((name for name, value in of_chat.items() if value is not None), None)
    if chat is False and named:
        raise MdmkitError(f"{named} goes through the chat template, and --no-chat says not to use it: drop one.")
    if infill is not None:
        prompts = [prompt if prompt.infill is not None else replace(prompt, infill=infill) for prompt in prompts]
    told = [_with_defaults(prompt, chat, system, suffix, chat_options or {}) for prompt in prompts]
    if not inputs:
        return told
    return [p if p.ids is not None else replace(p, inputs={**inputs, **(p.inputs or {})}) for p in told]


def _with_defaults(
    prompt: Prompt, chat: bool | None, system: str | None, suffix: str | None, chat_options: Mapping[str, Any]
) -> Prompt:
    if prompt.ids is not None:
        return prompt
    if prompt.suffix is None:
        prompt = replace(prompt, suffix=suffix)
    if prompt.chat is None and prompt.messages is None and prompt.system is None and prompt.chat_options is None:
        prompt = replace(prompt, chat=chat)
    if prompt.chat is False:
        return prompt
    if prompt.system is None and not (prompt.messages and _has_system(prompt.messages)):
        prompt = replace(prompt, system=system)
    return replace(prompt, chat_options={**chat_options, **(prompt.chat_options or {})} or None)


def _told(prompt: Prompt) -> dict[str, Any]:
    """The mapping that a user would write for this prompt."""
    told: dict[str, Any] = {"seed": prompt.seed}
    if prompt.messages is not None:
        told["messages"] = [{"role": role, "content": content} for role, content in prompt.messages]
    elif prompt.ids is not None:
        told["prompt_ids"] = prompt.ids
    else:
        told["prompt"] = prompt.text
    own = {key: getattr(prompt, key) for key in ("length", "infill", *OF_TEXTS, "inputs", "rule")}
    return told | {key: value for key, value in own.items() if value is not None}


def _messages(given: Any, index: int) -> tuple[tuple[str, str], ...]:
    form = 'a conversation is a list such as [{"role": "user", "content": "…"}]'
    if not isinstance(given, list | tuple) or not given:
        raise MdmkitError(f"prompt {index}: 'messages' is {shown(given)}; {form}.")
    told: list[tuple[str, str]] = []
    for message in given:
        if isinstance(message, Mapping) and message.get("content", "") is None:
            raise MdmkitError(
                f"prompt {index}: message {len(told) + 1} ({shown(message.get('role'))}) has no text: its content is "
                "null. Write a text, or take the message out."
            )
        known = isinstance(message, Mapping) and set(message) == {"role", "content"}
        content = _joined(message["content"], index) if known else None
        if content is None or not isinstance(message["role"], str):
            raise MdmkitError(
                f"prompt {index}: {shown(message)} is no message of 'messages': it has a 'role' and a 'content', both "
                f"texts, and no other key; {form}."
            )
        told.append((message["role"], content))
    return tuple(told)


def _joined(content: Any, index: int) -> str | None:
    """The text of a message's content, a text or a list of parts of type text; None if it is neither."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise MdmkitError(
                f"prompt {index}: a message has the part {shown(part)}, and only parts of text are read here, such as "
                '{"type": "text", "text": "…"}. Take it out.'
            )
    return "".join(part["text"] for part in content)


def _has_system(messages: Sequence[tuple[str, str]]) -> bool:
    return messages[0][0] == "system"


def _check_chat(given: Mapping[str, Any], messages: tuple[tuple[str, str], ...] | None, index: int) -> None:
    for key in OF_TEXTS:
        if key in given and "prompt_ids" in given:
            raise MdmkitError(
                f"prompt {index}: 'prompt_ids' are taken as they are, so {key!r} cannot be given with them. Give a "
                "text, or put the ids of all of it, masks included, into 'prompt_ids'."
            )
    through = ["messages"] if messages else [key for key in OF_CHAT if key in given]
    if given.get("chat") is False and through:
        raise MdmkitError(
            f"prompt {index}: {through[0]!r} goes through the chat template, and 'chat' is false: drop one."
        )
    if messages and "system" in given and _has_system(messages):
        raise MdmkitError(f"prompt {index}: 'messages' begins with a system message, so drop 'system'.")


def _ids(given: Any, index: int) -> tuple[int, ...]:
    if isinstance(given, torch.Tensor):
        given = given.tolist()
    if not isinstance(given, Sequence) or not all(isinstance(i, int) and not isinstance(i, bool) for i in given):
        raise MdmkitError(f"prompt {index}: token ids are a list of whole numbers, not {shown(given)}.")
    return tuple(given)
