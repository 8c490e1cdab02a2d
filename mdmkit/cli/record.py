"""The rows of a run on disk, and the record of the run beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mdmkit.cli.output import RowFile, can_resume, has_begun, record_of
from mdmkit.cli.recorded import read_replaced
from mdmkit.cli.resuming import Check, Kept, Slots, reopen, rows_of, without, write_record
from mdmkit.cli.saying import say

# A line names at most this many rows.
NAMED = 8


class Record:
    """A run's file of rows, and everything that a later run needs to continue it.

    Args:
        file: gets the rows; None: nothing is written.
        run: the run's identity.
        kept: the rows that an earlier run has finished.

    Attributes:
        slots: the number of rows that are decoded at once, for `decode_units`. A change is recorded at once.
        batch: the number of rows that the run begins with; it must be set before the first row is written.
    """

    def __init__(self, file: RowFile | None, run: dict[str, Any], kept: Kept):
        self.file, self.run, self.kept = file, run, kept
        self.slots = Slots(kept.slots, self._note)
        self.batch = kept.batch

    def earlier(self) -> Iterator[dict[str, Any]]:
        """The rows that an earlier run has written."""
        if self.file is not None and self.kept.rows:
            yield from rows_of(self.file.path, self.kept.rows)

    def hold(self, rows: list[dict[str, Any]]) -> None:
        """Record the rows that wait for earlier ones. After a kill, only the units at work are decoded again."""
        if self._begun:
            self.kept.waiting.clear()
            self.kept.waiting.update({row["index"]: row for row in rows})
            self.write()

    def finish(self) -> None:
        """Record that no row waits: all are in the file. A shard without prompts gets an empty file."""
        if self.file is None:
            return
        self.file.begin()
        if self.kept.waiting:
            self.kept.waiting.clear()
            self.write()

    def write(self) -> None:
        """Write the current record."""
        assert self.file is not None
        write_record(self.file.path, self.run, self.kept.waiting.values(), self.kept.slots, self.batch)

    @property
    def _begun(self) -> bool:
        return self.file is not None and self.file.begun and can_resume(self.file.path)

    def _note(self, slots: dict[int, int]) -> None:
        # Before the file is open, the change is only kept in memory. The record is written with the first rows.
        self.kept.slots.update(slots)
        if self._begun:
            self.write()


def open_record(
    output: Path | None,
    run: dict[str, Any],
    resume: bool,
    check: Check,
    stale: Callable[[dict[str, Any]], Iterable[Path]] = lambda before: (),
    intact: Callable[[int], bool] = lambda index: True,
    first: int = 0,
) -> Record:
    """Open the file for the rows, and find the rows that it already holds. A record of the run is written beside it.

    Args:
        check: returns a row of an earlier run, or raises a ValueError that says why it is none of this run.
        stale: from the run of an earlier record, the files to remove when this run replaces its rows.
        intact: False for a finished row whose own file is missing or damaged: it is decoded again.
        first: the index of the run's first row.

    Raises:
        MdmkitError: the run cannot be resumed.
    """
    if output is None:
        return Record(None, run, Kept(first=first))
    if not can_resume(output):
        return Record(RowFile(output), run, Kept(first=first))
    beside = record_of(output)
    kept = reopen(output, run, check, first) if resume else Kept(first=first)
    if lost := [index for index in sorted(kept.done) if not intact(index)]:
        more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        which = f"{'rows' if len(lost) > 1 else 'row'} {', '.join(map(str, lost[:NAMED]))}{more}"
        say(f"The file of {which} is missing or damaged: decoding again.", err=True)
        kept = without(output, run, kept, lost)
    record = Record(None, run, kept)

    def forget() -> None:
        # A kill between the two leaves an empty file without a record, not a file with the record of another run.
        for path in stale(read_replaced(beside) or run):
            path.unlink(missing_ok=True)
        beside.unlink(missing_ok=True)

    goes_on = resume and output.exists() and has_begun(output)
    record.file = RowFile(output, (kept.rows, kept.size) if goes_on else None, forget, record.write)
    return record
