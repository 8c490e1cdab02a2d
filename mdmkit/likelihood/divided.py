"""A prompt and a completion as token ids, and where the one ends and the other begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mdmkit.canvas.prompt import Prompt
from mdmkit.decoding.prompts import PromptLike, as_prompt
from mdmkit.errors import MdmkitError, shown
from mdmkit.settings.numbers import is_whole
from mdmkit.settings.plan import Plan

if TYPE_CHECKING:
    from mdmkit.model.backbone import Backbone

Completion = str | Sequence[int]


@dataclass(frozen=True)
class Divided:
    """Token ids of a prompt with its completion.

    Attributes:
        ids: the ids of both.
        start, end: start and end of the completion; special tokens may follow it.
    """

    ids: tuple[int, ...]
    start: int
    end: int


def divide(backbone: Backbone, prompt: PromptLike, completion: Completion) -> Divided:
    """Encode a prompt with a completion.

    Texts are encoded together. A token across the border belongs to the completion. After a conversation, the
    completion is the assistant's message, or the rest of it if the conversation ends with one.

    Raises:
        MdmkitError: the model cannot read them, they do not go together, or the completion has no tokens.
    """
    asked = replace(as_prompt(prompt, 0, 0), length=0, infill=False)
    for name, given in (("suffix", asked.suffix), ("inputs", asked.inputs), ("rule", asked.rule)):
        if given:
            raise MdmkitError(f"this prompt has {name!r}, and a likelihood is that of texts that stand at the end.")
    if asked.ids is not None:
        own = _own_ids(backbone, completion)
        return _unmasked(backbone, Divided((*asked.ids, *own), len(asked.ids), len(asked.ids) + len(own)), completion)
    if not isinstance(completion, str):
        raise MdmkitError(
            f"completion {shown(completion)} is token ids, and the prompt is a text, which is encoded together with "
            "its completion: give both as texts, or both as ids."
        )
    before = _ids(backbone, asked)
    if asked.messages is None and asked.chat is None and before != _ids(backbone, replace(asked, chat=False)):
        asked = replace(asked, chat=True)  # the model puts it into its chat template
    whole = _ids(backbone, _together(asked, completion))
    end = len(whole)
    never = set(backbone.forbidden)
    while end and whole[end - 1] in never:  # such as the separator after an encoder's text
        end -= 1
    same = (i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b)
    start = min(next(same, min(len(before), len(whole))), end)
    if start == end:
        raise MdmkitError(f"the completion {shown(completion)} has no tokens, so it has no likelihood.")
    return _unmasked(backbone, Divided(whole, start, end), completion)


def _unmasked(backbone: Backbone, text: Divided, completion: Completion) -> Divided:
    if backbone.mask_id in text.ids[text.start : text.end]:
        raise MdmkitError(f"the completion {shown(completion)} holds the mask, which no model writes.")
    return text


def _together(prompt: Prompt, completion: str) -> Prompt:
    """The prompt with its completion, as one prompt."""
    if prompt.messages is None and not prompt.chat:
        return replace(prompt, text=f"{prompt.text}{completion}")
    said = prompt.messages or _as_messages(prompt)
    if said[-1][0] == "assistant":
        said = (*said[:-1], ("assistant", f"{said[-1][1]}{completion}"))
    else:
        said = (*said, ("assistant", completion))
    return replace(prompt, messages=said, text=said[-1][1], system=None, chat=None)


def _as_messages(prompt: Prompt) -> tuple[tuple[str, str], ...]:
    system = () if prompt.system is None else (("system", prompt.system),)
    return (*system, ("user", str(prompt.text)))


def _own_ids(backbone: Backbone, completion: Completion) -> tuple[int, ...]:
    if isinstance(completion, str) or not all(is_whole(each) for each in completion):
        raise MdmkitError(
            f"the prompt is token ids, and completion {shown(completion)} is not: give both as ids, or both as texts."
        )
    odd = next((each for each in completion if not 0 <= each < backbone.vocab), None)
    if odd is not None:
        raise MdmkitError(
            f"completion: token id {odd} is none of the model's, which go from 0 to {backbone.vocab - 1}."
        )
    if not completion:
        raise MdmkitError("a completion has no tokens, so it has no likelihood.")
    return tuple(int(each) for each in completion)


def _ids(backbone: Backbone, prompt: Prompt) -> tuple[int, ...]:
    canvas, _ = backbone.encode([prompt], Plan())
    return tuple(canvas.tokens[0][canvas.valid[0]].tolist())
