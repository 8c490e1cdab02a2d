"""Count the words and word pairs of the World English Bible (public domain) for `zoo:bigram`.

    apt-get install diatheke sword-text-web
    diatheke -b engWEB2015eb -f internal -o f -k "Gen 1:1-Mal 4:6; Mat 1:1-Rev 22:21" > web.txt
    mdmkit zoo build bigram web.txt

Any plain text can be used instead of `web.txt`. Markup and verse numbers of the module are removed.

There is no token for unknown words: the vocabulary holds the most frequent tokens, and any other word ends a run of
text. Pairs are counted only within runs, so every counted pair is in the source. Quotes and brackets are removed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from mdmkit import MdmkitError
from mdmkit.cli.commands import read_whole
from mdmkit_zoo.bigram.text import PUNCTUATION, split

if TYPE_CHECKING:
    from pathlib import Path

WORDS = 2000
LENGTH = 16
SAMPLES = [
    "in the beginning _ _ _ _ _ _ and the earth",
    "he said to them, _ _ _ _ _ _ _ _.",
    "when he had _ _ _, he _ _ _ mountain.",
]

_TITLE = re.compile(r"<title\b[^>]*(?<!/)>.*?</title>", re.DOTALL)
_GLOSSARY = re.compile(r'<div [^>]*type="glossary".*', re.DOTALL)
_WORD_TAG = re.compile(r"</?w\b[^>]*>")  # inside words, so it leaves no space
_TAG = re.compile(r"<[^<>]*>")
_VERSE = re.compile(r"^\s*[\w ()]+? \d+:\d+: ", re.MULTILINE)
_MODULE = re.compile(r"^\(\w+\)$", re.MULTILINE)


def clean(source: str) -> str:
    """Remove titles (repeated at every verse), glossary, markup, verse numbers and the module's name."""
    text = _TITLE.sub(" ", _GLOSSARY.sub("", source))
    text = _TAG.sub(" ", _WORD_TAG.sub("", text))
    return _MODULE.sub(" ", _VERSE.sub(" ", text))


def runs(tokens: list[str], vocabulary: set[str]) -> list[list[str]]:
    """Split a token list at every word outside the vocabulary."""
    out: list[list[str]] = [[]]
    for token in tokens:
        if token in vocabulary:
            out[-1].append(token)
        elif out[-1]:
            out.append([])
    return [run for run in out if run]


def build(text: Path, output: Path, words: int = WORDS) -> Path:
    """Count `text` and write vocabulary.txt, counts.safetensors and mdmkit.json to `output`.

    Raises:
        MdmkitError: the file cannot be read or has fewer than `words` different tokens.
    """
    try:
        source = re.sub("\r\n?", "\n", read_whole(text).decode())
    except (OSError, UnicodeDecodeError) as problem:
        raise MdmkitError(
            f"cannot read {text} as UTF-8 text: {problem}. See the head of mdmkit_zoo/bigram/build.py."
        ) from None
    tokens = [t for t in split(clean(source)) if t[0].isalnum() or t in PUNCTUATION]
    frequency = Counter(tokens)
    if len(frequency) < words:
        raise MdmkitError(f"{text} has {len(frequency)} different words and marks, fewer than the {words} wanted.")
    vocabulary = sorted(frequency, key=lambda t: (-frequency[t], t))[:words]
    index = {token: i for i, token in enumerate(vocabulary)}
    pairs: Counter[tuple[int, int]] = Counter()
    for run in runs(tokens, set(vocabulary)):
        pairs.update((index[a], index[b]) for a, b in itertools.pairwise(run))
    ordered = sorted(pairs)
    output.mkdir(parents=True, exist_ok=True)
    arrays = {
        "unigram": torch.tensor([frequency[token] for token in vocabulary], dtype=torch.int32),
        "first": torch.tensor([a for a, _ in ordered], dtype=torch.int16),
        "second": torch.tensor([b for _, b in ordered], dtype=torch.int16),
        "count": torch.tensor([pairs[pair] for pair in ordered], dtype=torch.int32),
    }
    facts = {
        "source_sha256": hashlib.sha256(source.encode()).hexdigest(),
        "tokens": len(tokens),
        "covered": sum(frequency[token] for token in vocabulary),
    }
    # One key only: safetensors writes several keys in any order, and the same text must give the same file.
    save_file(arrays, output / "counts.safetensors", metadata={"facts": json.dumps(facts)})
    (output / "vocabulary.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (output / "mdmkit.json").write_text(json.dumps({"length": LENGTH, "samples": SAMPLES}, indent=2) + "\n")
    return output
