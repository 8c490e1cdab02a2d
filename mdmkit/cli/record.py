"""The rows of a run on disk, and beside them the record of what run they are of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdmkit.cli.output import RowFile, can_resume, record_of
from mdmkit.cli.resuming import Kept, Slots, is_record, reopen, rows_of, write_record
from mdmkit.errors import MdmkitError


class Record:
    """A run's file of rows, and what a later run must know to go on with it.

    Args:
        file: gets the rows; None: nothing is written.
        run: the run's identity.
        kept: what an earlier run has finished.

    Attributes:
        slots: how many rows are decoded at once, for `decode_units`; a change is recorded at once.
    """

    def __init__(self, file: RowFile | None, run: dict[str, Any], kept: Kept):
        self.file, self.run, self.kept = file, run, kept
        self.slots = Slots(kept.slots, self._note)

    def earlier(self) -> Iterator[dict[str, Any]]:
        """The rows that an earlier run has written."""
        if self.file is not None and self.kept.rows:
            yield from rows_of(self.file.path, self.kept.rows)

    def hold(self, rows: list[dict[str, Any]]) -> None:
        """Record the rows that wait for earlier ones: after a kill no more than the units at work are decoded again."""
        if self._begun:
            self.kept.waiting.clear()
            self.kept.waiting.update({row["index"]: row for row in rows})
            self.write()

    def finish(self) -> None:
        """Record that no row waits any more: they are in the file now."""
        if self.file is not None and self.kept.waiting:
            self.kept.waiting.clear()
            self.write()

    def write(self) -> None:
        """Write the record as it stands."""
        assert self.file is not None
        write_record(self.file.path, self.run, self.kept.waiting.values(), self.kept.slots)

    @property
    def _begun(self) -> bool:
        return self.file is not None and self.file.begun and can_resume(self.file.path)

    def _note(self, slots: dict[int, int]) -> None:
        # Before the file has begun it is only kept in mind: the record is written, with it, when the first rows are.
        self.kept.slots.update(slots)
        if self._begun:
            self.write()


def open_record(output: Path | None, run: dict[str, Any], resume: bool, overwrite: bool, prompts: int) -> Record:
    """Open the file for the rows; find what it holds already. Beside a file goes a record of the run.

    Raises:
        MdmkitError: the record's name is taken, or the run cannot be resumed.
    """
    if output is None:
        return Record(None, run, Kept())
    if not can_resume(output):
        return Record(RowFile(output), run, Kept())
    beside = record_of(output)
    if not (resume or overwrite or is_record(beside)):
        raise MdmkitError(f"--output {output}: the run is recorded in {beside}, and that file exists. Name another.")
    kept = reopen(output, run, prompts) if resume else Kept()
    record = Record(None, run, kept)

    def forget() -> None:
        # A kill between the two then leaves an empty file without a record, not one with the record of another run.
        beside.unlink(missing_ok=True)

    record.file = RowFile(output, (kept.rows, kept.size) if resume and output.exists() else None, forget, record.write)
    return record
