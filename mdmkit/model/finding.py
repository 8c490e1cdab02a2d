"""What a check of a model found out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of `mdmkit check`.

    Attributes:
        subject: what was looked at, such as `config: honoured`.
        verdict: `ok`; `note`, if a person should look at it; `skip`, if it cannot be checked here; or `FAIL`.
        detail: what was found.
    """

    subject: str
    verdict: Literal["ok", "note", "skip", "FAIL"]
    detail: str = ""
