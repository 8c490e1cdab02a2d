"""From prompts to ids: plain text or the chat template, masks in the text, and the text after the answer."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from mdmkit import MdmkitError, shown
from mdmkit_text import chat, infill

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdmkit import Prompt
    from mdmkit_text.tokens import Tokens


# One position to fill, for `lay_out`. The mask's own id is none: it may also be that of an ordinary letter.
OPEN = -1


class Encoder:
    """Encode prompts for one model.

    Args:
        tokens: its tokenizer and special ids.
        mask_id: the id of its mask.
        ref: how the user named the model; a name that says "base" has no chat by default.
    """

    def __init__(self, tokens: Tokens, mask_id: int, ref: str = ""):
        self.tokens, self.mask_id, self.ref = tokens, mask_id, ref

    def encode(self, prompt: Prompt) -> tuple[list[int], list[int]]:
        """Return the ids before and after the appended masks; −1 is a mask that is written in a text.

        The ids of a prompt given as ids are not changed. In a chat template, texts hold masks only if the prompt's
        `infill` is True: a turn that speaks about a mask does not ask for one.

        Raises:
            MdmkitError: a text without a tokenizer, a text that the tokenizer cannot read, a wrong number of masks, or
                a conversation that the model's template cannot write.
        """
        if prompt.ids is not None:
            return list(prompt.ids), []
        if self.tokens.tokenizer is None:
            raise MdmkitError(
                f"prompt {prompt.index} is a text, and {self.tokens.why_none}. Give token ids "
                '(--prompt-ids "5 7 9"), or put the tokenizer\'s files (tokenizer.json) beside config.json.'
            )
        chats = self.chats(prompt)
        prompt = replace(prompt, infill=not chats if prompt.infill is None else prompt.infill)
        after = [] if prompt.suffix is None else self._read(prompt, prompt.suffix, self._inner)
        if chats:
            # The template has added all special tokens. The beginning of the text is tokenized as usual.
            text = chat.render(self.tokens.tokenizer, prompt, self.ref)
            return self._read(prompt, text, self._bare), after
        closing: list[int] = []

        def first(text: str) -> list[int]:
            ids, ending = self.tokens.enclose(text)
            closing.extend(ending)
            return ids

        return self._read(prompt, prompt.text or "", first), [*after, *closing]

    def chats(self, prompt: Prompt) -> bool:
        """True if a text goes through the chat template.

        The prompt decides. If it does not, there must be a template, the model's name must not be that of a base model,
        and the prompt must not be an infill.
        """
        asked = (prompt.messages, prompt.system, prompt.chat_options, prompt.chat)
        if any(each is not None for each in asked):
            return prompt.chat is not False
        holds = prompt.infill is not False and self._masks.held(prompt.text or "")
        return bool(self.tokens.tokenizer.chat_template) and not (
            holds or prompt.suffix is not None or chat.is_base(self.ref)
        )

    def _read(self, prompt: Prompt, text: str, first: Callable[[str], list[int]]) -> list[int]:
        """Tokenize a text with masks; the part before the first mask is tokenized by `first`."""
        texts, counts = self._masks.split(text, f"prompt {prompt.index}") if prompt.infill else ([text], [])
        try:
            ids = first(texts[0])
            for piece, count in zip(texts[1:], counts, strict=True):
                ids += [*[OPEN] * count, *self._inner(piece)]
        except Exception as error:  # the Rust tokenizers raise bare Exceptions
            raise MdmkitError(
                f"prompt {prompt.index}: the model's tokenizer cannot read {shown(text)}: {error}."
                f"{self._alphabet(text)}"
            ) from error
        if prompt.infill and self._masks.named:  # a tokenizer may turn other signs into its mask, such as _
            return [OPEN if token == self.mask_id else token for token in ids]
        return ids

    def _bare(self, text: str) -> list[int]:
        return list(self.tokens.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    @cached_property
    def _masks(self) -> infill.Masks:
        return infill.Masks(self.tokens.tokenizer, self.mask_id)

    @cached_property
    def _inner(self) -> Callable[[str], list[int]]:
        return infill.inner(self.tokens.tokenizer)

    def _alphabet(self, text: str) -> str:
        """For a tokenizer of single characters: the text's characters that it lacks, and those that it has."""
        known = sorted(token for token in self.tokens.tokenizer.get_vocab() if len(token) == 1)
        lacking = sorted(set(text) - set(known))
        if not lacking or len(known) < 2 or len(known) > 100:
            return ""
        return f" It has no {' '.join(map(repr, lacking))}; its characters are {''.join(known)}"
