"""What every refused command has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from click.testing import Result


def refused(result: Result, *words: str) -> None:
    """Check that a command has ended with exit code 2 and these words on standard error, and printed nothing else."""
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and "Traceback" not in result.stderr
    text = " ".join(result.stderr.split())
    for word in words:
        assert word in text, text
