"""What every judge reads first: where an answer ends, the marks around its result, and signs of other scripts."""

from __future__ import annotations

import re
import unicodedata

# A few-shot answer ends where the model goes on to invent a next question.
NEXT = re.compile(
    r"\n\s*(?:\*\*)?(?:Question|Q|Problem|Human|User)\s*\d*\s*:|\n\s*###\s*(?:Instruction|User|Human)\b"
    r"|<\|(?:eot_id|im_end|im_start|start_header_id|endoftext|end_of_text)\|>|</s>|\[INST\]"
)
# Words that announce the result, perhaps in bold. "The answer is not 5" announces nothing.
ANNOUNCED = re.compile(r"\banswer[\s*_]*(?:(?:is|would be|to be|must be)\b|:|=)[\s*_]*:?(?!\s*not\b)", re.I)
# Full-width forms, the signs of Arabic numbers, and dashes that are minus signs.
_SIGNS = {0xFF01 + i: 0x21 + i for i in range(94)} | {0x3000: " ", 0x066B: ".", 0x066C: ",", 0x066A: "%"}
_SIGNS |= dict.fromkeys(map(ord, "−‐‑‒–﹣"), "-")


def first_turn(answer: str) -> str:
    """The answer without a next turn that the model has invented."""
    return NEXT.split(answer, maxsplit=1)[0]


def plain_signs(text: str) -> str:
    """Write digits of every script, full-width forms and minus signs in ASCII. A power such as ² is no digit."""
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text.translate(_SIGNS))


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{…}`, with balanced braces; None if no such box is closed."""
    for start in reversed([match.end() for match in re.finditer(r"\\(?:boxed|fbox)\s*\{", text)]):
        depth = 1
        for end in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[start:end]
    return None


def tagged(text: str) -> str | None:
    """The content of the last `<answer>…</answer>` that is not empty, perhaps not closed; None if there is none."""
    found = re.findall(r"<answer>(.*?)(?:</answer>|$)", text, re.S | re.I)
    return next((inside for inside in reversed(found) if inside.strip()), None)
