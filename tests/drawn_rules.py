"""Random rules for texts, small models that have texts, and a proof that no answer of a row keeps a rule.

For tests of constraints. The proof uses the library's automaton over characters, and nothing of mdmkit-constrain.
"""

from __future__ import annotations

import functools
import re
import shutil
from typing import TYPE_CHECKING, Any

import interegular
import torch
from checkpoints import GOLDEN
from interegular.fsm import anything_else
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import mdmkit

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# Byte-level tokens; some hold two characters, or parts of one.
SOME = [*map(chr, range(33, 127)), "Ġ", "Ċ", "ĉ", "Ã", "©", "ł"]
MORE = ["Ġyes", "no", "Ãł", "ĠÃ", "12", "3.", "Ġ{", '":', '",', "},", "ab", "tr", "ue"]
LEAVES = ("a", "b", "ok", "no", "yes", "x1", r"\d", r"\w", r"\s", "[a-f]", "[^a-z]", ".", r"\.", "[0-9A-F]", r"\{", "é")
COUNTS = ("*", "+", "?", "{2}", "{1,3}", "{2,}", "+?", "{0,4}")


def pattern(rng: random.Random, depth: int = 3) -> str:
    """A random pattern: letters, classes, alternatives, counts, groups."""
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(LEAVES)
    left, right = (pattern(rng, depth - 1) for _ in range(2))
    kind = rng.randrange(6)
    if kind == 0:
        return f"({left}|{right})"
    if kind == 1:
        return f"(?:{left}){rng.choice(COUNTS)}"
    if kind == 2:
        return f"({left}|{right}){rng.choice(COUNTS)}"
    return f"({left})({right})"


# -- models ------------------------------------------------------------------------------------------------------------


def tokenizer(vocab: Sequence[str], special: Sequence[str]) -> Any:
    """A byte-level tokenizer; the special tokens end with the mask and the end."""
    core = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*vocab, *special])}, merges=[]))
    core.add_special_tokens([AddedToken(token, special=True) for token in special])
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    names = {"mask_token": special[-2], "eos_token": special[-1], "pad_token": special[-1]}
    return PreTrainedTokenizerFast(tokenizer_object=core, clean_up_tokenization_spaces=False, **names)


def golden(name: str, folder: Path) -> Any:
    """A golden checkpoint of random weights and 128 ids, with a tokenizer: `sdar` is block-causal, `llada` is not."""
    shutil.copytree(GOLDEN / name, folder / name)
    vocab = [*SOME, *MORE]
    unused = [f"<{i}>" for i in range(125 - len(vocab))]
    tokenizer(vocab, [*unused, "<mask>", "<end>"]).save_pretrained(folder / name)
    return mdmkit.load(str(folder / name))


def byte_level() -> Any:
    """A callable whose logits depend on every token; its vocabulary holds all bytes."""
    own = tokenizer([*sorted(pre_tokenizers.ByteLevel.alphabet()), *MORE], ["<mask>", "<end>"])
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(len(own), len(own), generator=generator)
    places = 2 * torch.randn(128, len(own), generator=generator)

    def model(ids: Any, attention_mask: Any = None) -> Any:
        known = table[ids] * (ids != own.mask_token_id)[..., None]
        return places[: ids.shape[1]] + known.sum(1, keepdim=True)

    return mdmkit.wrap(model, own).backbone


# -- what is impossible ------------------------------------------------------------------------------------------------


@functools.cache
def machine(rule: str) -> Any:
    return interegular.parse_pattern(rule).to_fsm().reduce()


def sample(rule: str, rng: random.Random, most: int = 14) -> str | None:
    """A short text of printable ASCII that matches, if a few random walks find one."""
    fsm = machine(rule)
    named = sorted(c for c in fsm.alphabet if c is not anything_else and " " <= c <= "~")  # a set keeps no order
    for _ in range(30):
        state, text = fsm.initial, ""
        while len(text) < most and not (state in fsm.finals and rng.random() < 0.3):
            moves = fsm.map.get(state, {})
            ways = [c for c in named if fsm.alphabet[c] in moves and fsm.islive(moves[fsm.alphabet[c]])]
            if not ways:
                break
            text += (c := rng.choice(ways))
            state = moves[fsm.alphabet[c]]
        if re.fullmatch(rule, text, re.ASCII):
            return text
    return None


def possible(rule: str, row: Sequence[str | None], tokens: Iterable[bytes], ends: bool) -> bool:
    """True if some answer of this row keeps the rule: reads all tokens at once from the left to the right.

    Args:
        row: the text of each position, None where it is open.
        tokens: the bytes of all tokens that may be chosen.
        ends: True: end tokens may follow the text.
    """
    fsm, every = machine(rule), {*tokens}
    named = {c.encode() for c in fsm.alphabet if c is not anything_else and not c.isascii()}
    now: set[State] = {(fsm.initial, b"")}
    for text in row:
        if ends and any(s in fsm.finals for s, held in now if not held):
            return True
        after: set[State] = set()
        for token in every if text is None else {text.encode()}:
            states = now
            for byte in token:
                states = {found for s, held in states if (found := _step(fsm, named, s, held + bytes([byte])))}
            after |= states
        now = after
    return any(s in fsm.finals for s, held in now if not held)


State = tuple[Any, bytes]


def _step(fsm: Any, named: set[bytes], state: Any, held: bytes) -> State | None:
    """The state after the bytes of one character, or of a part of one; None: there is none.

    Parts of characters that have no name in the automaton are alike, so one stands for all.
    """
    lead = held[0]
    need = (
        1
        if lead < 0x80
        else 2
        if 0xC2 <= lead < 0xE0
        else 3
        if 0xE0 <= lead < 0xF0
        else 4
        if 0xF0 <= lead < 0xF5
        else 0
    )
    if not need or any(not 0x80 <= byte < 0xC0 for byte in held[1:]):
        return None
    if len(held) < need:
        known = any(name.startswith(held) for name in named)
        return state, held if known else (b"", b"\xd0", b"\xe1\x81", b"\xf1\x81\x81")[need - 1][: len(held)]
    try:
        after = fsm.map.get(state, {}).get(fsm.alphabet[held.decode()])
    except UnicodeDecodeError:
        return None
    return None if after is None else (after, b"")
