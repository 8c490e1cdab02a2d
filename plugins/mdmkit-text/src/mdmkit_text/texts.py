"""What each token of a tokenizer adds to a text, as bytes."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# SentencePiece writes a byte without a token of its own in this form.
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
# The steps of a decoder of SentencePiece's models that are read.
_IN_ORDER = re.compile(r"(Replace ?)*(ByteFallback ?)?(Fuse( Strip)?)?")

Piece = bytes | None


def texts_of(tokenizer: Any, vocab: int) -> tuple[list[Piece], bool]:
    """Return what each of V tokens adds, and True if a space at the start of a text is left out.

    Special tokens add nothing. The list is empty if the text of a token depends on the tokens beside it, or if the
    decoder of the tokenizer is of another kind than those that are read here: ByteLevel, Fuse, Metaspace (if no token
    holds its mark behind the first character), and the sequences of SentencePiece's models, with their steps in order.
    """
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None or core.decoder is None or getattr(tokenizer, "clean_up_tokenization_spaces", False):
        return [], False
    decoder = json.loads(core.decoder.__getstate__())
    names = {i: name for name, i in core.get_vocab(with_added_tokens=True).items()}
    read = _reader(decoder)
    if read is None:
        return [], False
    piece, drops_space = read
    # Metaspace leaves out all marks of the first token, and not only one space.
    if decoder["type"] == "Metaspace" and drops_space and any(decoder["replacement"] in n[1:] for n in names.values()):
        return [], False
    special = {i for i, token in core.get_added_tokens_decoder().items() if token.special}
    return [piece(names[i]) if i in names and i not in special else None for i in range(vocab)], drops_space


def _reader(decoder: dict[str, Any]) -> tuple[Callable[[str], bytes], bool] | None:
    """What a decoder makes of one token, and True if it leaves out a space at the start; None: not known."""
    kind = decoder["type"]
    if kind == "ByteLevel":
        return _byte_level, False
    if kind == "Fuse":
        return str.encode, False
    if kind == "Metaspace":
        mark, drops = decoder["replacement"], decoder.get("prepend_scheme", "always") != "never"
        return lambda token: token.replace(mark, " ").encode(), drops
    return _sequence(decoder["decoders"]) if kind == "Sequence" else None


def _sequence(steps: list[dict[str, Any]]) -> tuple[Callable[[str], bytes], bool] | None:
    """The decoder of SentencePiece's models: marks become spaces, bytes are read, a space at the start is left out.

    Only in this order a token's text does not depend on its neighbours: a space is left out of each token if that is
    done before they are joined (Fuse), and a mark may be made of the bytes of several tokens.
    """
    kinds = [step["type"] for step in steps]
    if not _IN_ORDER.fullmatch(" ".join(kinds)):
        return None
    marks = [(step["pattern"].get("String"), step["content"]) for step in steps if step["type"] == "Replace"]
    strips = [(step["content"], step["start"], step["stop"]) for step in steps if step["type"] == "Strip"]
    if any(mark is None for mark, _ in marks) or strips not in ([], [(" ", 1, 0)]):
        return None
    in_bytes = "ByteFallback" in kinds

    def piece(token: str) -> bytes:
        for mark, content in marks:
            token = token.replace(mark, content)
        if in_bytes and (found := _BYTE.fullmatch(token)):
            return bytes([int(found[1], 16)])
        return token.encode()

    return piece, bool(strips)


def _byte_level(token: str) -> bytes:
    """GPT-2's byte-level form: each character stands for a byte; a token that is added as it is may hold others."""
    table = _bytes_of()
    return bytes(table[c] for c in token) if all(c in table for c in token) else token.encode()


@functools.cache
def _bytes_of() -> dict[str, int]:
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
