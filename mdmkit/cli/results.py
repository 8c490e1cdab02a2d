"""Where finished rows go: into the files in the order of the prompts, and to whoever shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit.cli.output import DocumentFile, RowFile, can_resume, record_of
from mdmkit.cli.resuming import Kept, is_record, reopen, write_record
from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from mdmkit.canvas.row import Row

# A row as it is written, and its trace where one is asked for.
Written = tuple[dict[str, Any], dict[str, Any] | None]


def open_rows(
    output: Path | None, run: dict[str, Any], resume: bool, overwrite: bool, prompts: int
) -> tuple[Kept, RowFile | None]:
    """Open the file for the rows; say what it holds already. Beside a file goes a record of the run.

    Raises:
        MdmkitError: the record's name is taken, or the run cannot be resumed.
    """
    if output is None:
        return Kept(), None
    if not can_resume(output):
        return Kept(), RowFile(output)
    record = record_of(output)
    if not (resume or overwrite or is_record(record)):
        raise MdmkitError(f"--output {output}: the run is recorded in {record}, and that file exists. Name another.")
    kept = reopen(output, run, prompts) if resume else Kept()

    def forget() -> None:
        # A kill between the two then leaves an empty file without a record, not one with the record of another run.
        record.unlink(missing_ok=True)

    def begin() -> None:
        write_record(output, run, kept.waiting.values(), kept.slots)

    return kept, RowFile(output, (kept.rows, kept.size) if resume and output.exists() else None, forget, begin)


class Results:
    """Takes rows as they finish, and holds none that it has written.

    Args:
        file: gets the rows.
        trace: gets what `traced` makes of each.
        collect: keep the rows, without their traces, in `rows`: they are to be printed.
        kept: rows of an earlier run; those that wait are written once they are due.
        told: makes of each finished row what is written.
        held: gets the rows that wait for earlier ones, whenever others were finished: a kill must not lose them.
    """

    def __init__(
        self,
        file: RowFile | None,
        trace: DocumentFile | None,
        traced: Callable[[Row], dict[str, Any]],
        collect: bool,
        kept: Kept,
        told: Callable[[Row], dict[str, Any]] = lambda row: row.json(),
        held: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
    ):
        from mdmkit.decoding.units import InOrder

        self.file, self.trace, self.traced, self.collect, self.told = file, trace, traced, collect, told
        self.held = held
        self.rows: list[dict[str, Any]] = []
        self.finished, self.new, self.tokens, self.nfe = kept.rows, 0, 0, 0
        self._broken = False
        self._order: InOrder[Written] = InOrder(kept.rows, {i: (row, None) for i, row in kept.waiting.items()})

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows in; write those that are due.

        Raises:
            MdmkitError: a file cannot be written.
        """
        due = []
        for row in rows:
            self.new += 1
            self.nfe += row.nfe
            self.tokens += sum(tick >= 0 for tick in row.order)
            due += self._order.add(row.index, (self.told(row), self.traced(row) if self.trace is not None else None))
        self._write(due)
        if self._order.waiting:
            self.held([row for row, _ in self._order.waiting.values()])

    def end(self) -> None:
        """Write also the rows that wait for others, which are not coming any more; end the trace.

        Raises:
            MdmkitError: a file cannot be written.
        """
        if self._broken:
            return
        self._write(self._order.ready())
        self._write(self._order.rest())
        if self.trace is not None and self.trace.rows:
            self.trace.finish()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()

    def _write(self, due: list[Written]) -> None:
        self._broken = True  # until it has gone well
        if self.file is not None:
            self.file.write([row for row, _ in due])
        for row, trace in due:
            if self.trace is not None and trace is not None:
                self.trace.write(trace)
            if self.collect:
                self.rows.append(row)
        self.finished += len(due)
        self._broken = False
