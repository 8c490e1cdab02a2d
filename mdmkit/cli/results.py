"""Write finished rows into the files, in the order of the prompts, and keep those that are to be printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit._gone import names_gone
from mdmkit.cli.output import DocumentFile
from mdmkit.cli.record import Record

if TYPE_CHECKING:
    from mdmkit.canvas.row import Row
    from mdmkit.model.backbone import Backbone

# A row in the form that is written, and its trace or None.
Written = tuple[dict[str, Any], dict[str, Any] | None]


class Traces:
    """The file of `--trace`: each row's steps, as the observer `recording` recorded them."""

    def __init__(self, path: Path, document: dict[str, Any], backbone: Backbone):
        from mdmkit.watch.recording import Recording

        self.file, self.recording, self._render = DocumentFile("--trace", path, document), Recording(), backbone.render

    def of(self, row: Row) -> dict[str, Any]:
        """Return the row's steps, and forget them."""
        pieces = [self._render(token) for token in row.trace["tokens"]]
        return {"index": row.index, "seed": row.seed, **row.trace, "pieces": pieces, **self.recording.take(row.index)}


class Results:
    """Take rows as they finish; rows that are written are not kept.

    Args:
        record: gets the rows, and also the rows that wait for earlier ones, so that a kill loses none. Waiting rows of
            an earlier run are written when they are due.
        traces: gets each row's steps.
        collect: True: keep the rows, without their traces, in `rows`, to be printed.
        told: turns a finished row into the JSON that is written.

    Attributes:
        again: the number of rows of an earlier run that are decoded again, because their unit lacks others. They are
            not written again, and not among `new`.
    """

    def __init__(
        self,
        record: Record,
        traces: Traces | None,
        collect: bool,
        told: Callable[[Row], dict[str, Any]] = lambda row: row.json(),
    ):
        from mdmkit.decoding.units import InOrder

        self.record, self.traces, self.collect, self.told = record, traces, collect, told
        self.rows: list[dict[str, Any]] = []
        kept = record.kept
        self.finished, self.new, self.tokens, self.nfe, self.again = kept.rows, 0, 0, 0, 0
        self._broken = False
        self._order: InOrder[Written] = InOrder(kept.due, {i: (row, None) for i, row in kept.waiting.items()})

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows; write those that are due.

        Raises:
            MdmkitError: a file cannot be written.
        """
        due = []
        for row in rows:
            self.new += 1
            self.nfe += row.nfe
            self.tokens += sum(tick >= 0 for tick in row.order)
            due += self._order.add(
                row.index, (self.told(row), self.traces.of(row) if self.traces is not None else None)
            )
        self._write(due)
        if self._order.waiting:
            self.record.hold([row for row, _ in self._order.waiting.values()])

    def end(self) -> None:
        """Write also the rows that wait for others that will not come; end the trace. A second call does nothing.

        Raises:
            MdmkitError: a file cannot be written.
        """
        if self._broken:
            return
        self._write(self._order.ready())
        self._write(self._order.rest())
        self._broken = True  # if the trace cannot be ended, there is no second try
        if self.traces is not None and self.traces.file.rows:
            self.traces.file.finish()

    def close(self) -> None:
        if self.record.file is not None:
            self.record.file.close()
        if self.traces is not None:
            self.traces.file.close()  # a file could not be written, so it is not whole

    def _write(self, due: list[Written]) -> None:
        self._broken = True  # until the write has succeeded
        if self.record.file is not None:
            self.record.file.write([row for row, _ in due])
        self.finished += len(due)  # also if the trace cannot be written
        for row, trace in due:
            if self.traces is not None and trace is not None:
                self.traces.file.write(trace)
            if self.collect:
                self.rows.append(row)
        self._broken = False


__getattr__ = names_gone("cli.results")
