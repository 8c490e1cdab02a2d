"""What every judge reads first: where an answer ends, the marks around its result, and signs of other scripts."""

from __future__ import annotations

import re
import unicodedata

# Longer runs of spaces or blank lines are shortened, since patterns would be tried at each of them.
SPACES = re.compile(r"\s{20,}")
# Signs of a tokenizer that end a turn.
TURN = re.compile(r"<\|(?:eot_id|im_end|im_start|start_header_id|endoftext|end_of_text)\|>|</s>|\[INST\]")
# A few-shot answer ends where the model goes on to invent a next question.
NEXT = re.compile(
    r"\n\s*(?:\*\*)?(?:Question|Q|Problem|Human|User)\s*\d*\s*:|\n\s*###\s*(?:Instruction|User|Human)\b"
    rf"|{TURN.pattern}"
)
# Words that announce the result, perhaps in bold. "The answer is not 5" announces nothing.
ANNOUNCED = re.compile(r"\banswer[\s*_]*(?:(?:is|would be|to be|must be)\b|:|=)[\s*_]*:?(?!\s*not\b)", re.I)
# Full-width forms, the signs of Arabic numbers, and dashes that are minus signs.
_SIGNS = {0xFF01 + i: 0x21 + i for i in range(94)} | {0x3000: " ", 0x066B: ".", 0x066C: ",", 0x066A: "%"}
_SIGNS |= dict.fromkeys(map(ord, "−‐‑‒–﹣"), "-")


def first_turn(answer: str) -> str:
    """The answer without a next turn that the model has invented, and without long empty stretches."""
    return NEXT.split(shortened(answer), maxsplit=1)[0]


def shortened(text: str) -> str:
    """Shorten long runs of spaces and blank lines."""
    return SPACES.sub(lambda run: "\n\n" if "\n" in run[0] else "  ", text)


def plain_signs(text: str) -> str:
    """Write digits of every script, full-width forms and minus signs in ASCII. A power such as ² is no digit."""
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text.translate(_SIGNS))


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{…}`, with balanced braces; None if no such box is closed."""
    starts = {match.end() for match in re.finditer(r"\\(?:boxed|fbox)\s*\{", text)}
    opened: list[int] = []
    closed: dict[int, int] = {}
    for at, sign in enumerate(text):
        if sign == "{":
            opened.append(at + 1)
        elif sign == "}" and opened and (start := opened.pop()) in starts:
            closed[start] = at
    return text[max(closed) : closed[max(closed)]] if closed else None


def tagged(text: str) -> str | None:
    """The content of the last `<answer>…</answer>` that is not empty, perhaps not closed; None if there is none."""
    found = re.findall(r"<answer>(.*?)(?:</answer|$)", text, re.S | re.I)
    return next((inside for inside in reversed(found) if inside.strip()), None)
