"""The exception and the warning that mdmkit raises. Each is one paragraph for the user, and says what to change."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# What code of others may raise: `sys.exit` in a part would end the program without a word.
FAILURES = (Exception, SystemExit)


class MdmkitError(Exception):
    """A mistake in what was asked, explained. The command line prints it and exits with code 2."""


class MdmkitWarning(UserWarning):
    """A note: the command was carried out, but a part of the input had no effect, such as a text that was cut.

    Raise it with `warnings.warn(text, MdmkitWarning, stacklevel=2)`. The command line prints each text once, as a note.
    """


class MdmkitDeprecationWarning(DeprecationWarning, MdmkitWarning):
    """A module path of the first edition was used. Python hides it in modules; the command line prints it as a note."""


class RowError(MdmkitError):
    """One row that cannot be decoded any further.

    Attributes:
        reason: what is wrong with it.
        tick: the row's step at which that was seen, counted from 0.
        row: its place in the batch, counted from 0.
        prompt: its place among the prompts, counted from 0; None if it is not known; see `of_prompt`.
    """

    def __init__(self, reason: str, tick: int, row: int, prompt: int | None = None):
        self.reason, self.tick, self.row, self.prompt = reason, tick, row, prompt
        if prompt is None:
            super().__init__(f"{reason} at tick {tick} in row {row} of the batch.")
        else:
            super().__init__(
                f"{reason} at tick {tick} in row {prompt} (the row's step, the prompt's place; both from 0)."
            )

    def __reduce__(self) -> tuple[type[RowError], tuple[str, int, int, int | None]]:
        # Without this, pickle would make the error from its message alone.
        return RowError, (self.reason, self.tick, self.row, self.prompt)

    def of_prompt(self, prompt: int) -> RowError:
        """The same error with the number of the prompt, counted from 0."""
        return RowError(self.reason, self.tick, self.row, prompt)


def unknown(kind: str, name: str, known: Iterable[str], *, known_as: str = "Known") -> str:
    """Describe an unknown name: the nearest one, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}.{guess} {known_as}: {', '.join(names) if names else 'none'}."


def shown(value: object, most: int = 200) -> str:
    """Show a value that the user gave, for an error: its `repr`, cut to some 200 characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def told(error: BaseException) -> str:
    """An exception's type and text, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def is_out_of_memory(error: BaseException) -> bool:
    """True if an exception, or the one that it was raised from, says that memory is too small."""
    said = str(error)
    if "out of memory" in said.lower() or "can't allocate memory" in said or isinstance(error, MemoryError):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def explained(error: Exception) -> str:
    """The text of our own error, which says all; of any other, its type too. On one line."""
    return " ".join(str(error).split()) if isinstance(error, MdmkitError) else told(error)
