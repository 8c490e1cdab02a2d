"""The one exception that is the user's to read: a paragraph that names the culprit, the choices and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MdmkitError(Exception):
    """A mistake in what was asked, explained. The command line prints it and exits with code 2."""


def unknown(kind: str, name: str, known: Iterable[str], *, known_as: str = "Known") -> str:
    """Describe an unknown name: the nearest one, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}.{guess} {known_as}: {', '.join(names) if names else 'none'}."
