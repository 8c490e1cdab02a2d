"""Masks in a text: `[MASK]`, `[MASK:8]` and the tokenizer's own mask token; and the texts between them.

The texts between masks are tokenized one by one, independently. Nothing that a tokenizer adds to the beginning of a
text is added: neither special tokens nor a space. So `"a[MASK]b"` has no space around its mask and `"a [MASK] b"` has
two; if the tokenizer joins a space to the word after it, the second is a part of the token of `b`. A WordPiece
tokenizer reads the text after a mask as the beginning of a word, never as its continuation.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from mdmkit import LONGEST_ROW, MdmkitError

if TYPE_CHECKING:
    from collections.abc import Callable

_MARKER = r"\[MASK(?::(?P<count>[^\[\]\n]*))?\]"


class Masks:
    """Find masks in texts, for one tokenizer and mask id.

    Attributes:
        named: True if the tokenizer has a token for the mask. The id is then never that of an ordinary letter.
    """

    def __init__(self, tokenizer: Any, mask_id: int):
        token = tokenizer.added_tokens_decoder.get(mask_id)
        text = token.content if token is not None else None
        if text is None and getattr(tokenizer, "mask_token_id", None) == mask_id:
            text = tokenizer.mask_token
        self.named = bool(text)
        own = [re.escape(text)] if text else []
        self._pattern = re.compile("|".join([_MARKER, *own]))
        # A mask token may include the space beside it: that of RoBERTa stands for a word and the space before it.
        self._takes_left, self._takes_right = getattr(token, "lstrip", False), getattr(token, "rstrip", False)

    def held(self, text: str) -> bool:
        return self._pattern.search(text) is not None

    def split(self, text: str, where: str) -> tuple[list[str], list[int]]:
        """Split a text at its masks: n + 1 texts, and the n numbers of masks between them.

        Raises:
            MdmkitError: a number of masks that is not a number, is 0, or is too large; `where` names the text in the
                error.
        """
        texts, counts, start = [], [], 0
        for found in self._pattern.finditer(text):
            counts.append(_count(found, where))
            texts.append(text[start : found.start()])
            start = found.end()
        texts.append(text[start:])
        if sum(counts) > LONGEST_ROW:
            raise MdmkitError(f"{where} holds {sum(counts)} masks: a row has at most {LONGEST_ROW} tokens.")
        for i in range(len(counts)):
            texts[i] = texts[i].rstrip() if self._takes_left else texts[i]
            texts[i + 1] = texts[i + 1].lstrip() if self._takes_right else texts[i + 1]
        return texts, counts


def _count(found: re.Match[str], where: str) -> int:
    said = found["count"]
    if said is None:
        return 1
    # The digits are counted first, because Python refuses to read thousands of them.
    if not (said.isascii() and said.isdigit() and len(said) <= 9 and 1 <= int(said) <= LONGEST_ROW):
        raise MdmkitError(
            f"{where}: {found[0][:40]!r} is not a number of masks: write [MASK:8] for eight, 1 to {LONGEST_ROW}. To "
            "keep "
            'it as text, give the prompt as an object with "infill": false.'
        )
    return int(said)


def inner(tokenizer: Any) -> Callable[[str], list[int]]:
    """A function that tokenizes a text inside another: without special tokens, and without a space before it."""
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        state = json.loads(backend.to_str())
        changed = [_without_prefix(state, "normalizer"), _without_prefix(state, "pre_tokenizer")]
        if any(changed):
            core = Tokenizer.from_str(json.dumps(state))
            return lambda text: core.encode(text, add_special_tokens=False).ids
    return lambda text: list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _without_prefix(state: dict[str, Any], key: str) -> bool:
    """Switch off everything in a part of a tokenizer.json that adds a space before a text; False if nothing does."""
    node = state.get(key)
    if node is None:
        return False
    changed = False
    if node["type"] == "Sequence":
        name = "normalizers" if key == "normalizer" else "pretokenizers"
        steps = [{key: step} for step in node[name]]
        changed = any(list(map(_without_prefix, steps, [key] * len(steps))))  # a list: every step is changed
        node[name] = [step[key] for step in steps if step[key] is not None]
    elif node["type"] == "ByteLevel" and node.get("add_prefix_space"):
        node["add_prefix_space"], changed = False, True
    elif node["type"] == "Metaspace" and node.get("prepend_scheme") != "never":
        node["prepend_scheme"], changed = "never", True
    elif node["type"] == "Prepend":
        state[key], changed = None, True
    return changed
