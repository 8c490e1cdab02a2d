"""The models of the zoo. This module imports nothing, so listing is fast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One model: its description, its licence, and the command that makes it again."""

    name: str
    summary: str
    licence: str
    made_by: str

    @property
    def folder(self) -> Path:
        """The model directory inside this package."""
        return Path(__file__).parent / "models" / self.name

    @property
    def megabytes(self) -> float:
        """Size on disk; 0 if the model is missing."""
        return sum(f.stat().st_size for f in self.folder.rglob("*") if f.is_file()) / 1e6


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "antibody",
            "heavy chains of human antibodies: RoBERTa, 0.57 M parameters (sapiens 1.0.4)",
            "MIT, Merck & Co.",
            "mdmkit zoo convert antibody sapiens-1.0.4-py3-none-any.whl",
        ),
        Entry(
            "bigram",
            "exact model of English word pairs: 2000 words of the World English Bible",
            "public domain",
            "mdmkit zoo build bigram web.txt",
        ),
        Entry(
            "digits",
            "handwritten digits by class, 4x4 codes drawn at 32x32 (scikit-learn's digits); needs mdmkit-image",
            "Apache-2.0; data CC BY 4.0",
            "mdmkit zoo train digits",
        ),
        Entry(
            "puzzles",
            "4x4 Sudoku, Countdown equations and one-way products, by characters",
            "Apache-2.0",
            "mdmkit zoo train puzzles",
        ),
    )
}
