"""Where finished rows go: into the files in the order of the prompts, and to whoever shows them."""

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

# A row as it is written, and its trace where one is asked for.
Written = tuple[dict[str, Any], dict[str, Any] | None]


class Traces:
    """The file of `--trace`: what each row's steps were, as the observer `recording` saw them."""

    def __init__(self, path: Path, document: dict[str, Any], backbone: Backbone):
        from mdmkit.watch.recording import Recording

        self.file, self.recording, self._render = DocumentFile("--trace", path, document), Recording(), backbone.render

    def of(self, row: Row) -> dict[str, Any]:
        """The row's steps; they are let go."""
        pieces = [self._render(token) for token in row.trace["tokens"]]
        return {"index": row.index, "seed": row.seed, **row.trace, "pieces": pieces, **self.recording.take(row.index)}


class Results:
    """Takes rows as they finish, and holds none that it has written.

    Args:
        record: gets the rows, and those that wait for earlier ones whenever others were finished: a kill must not lose
            them. Rows of an earlier run that wait are written once they are due.
        traces: gets what each row's steps were.
        collect: keep the rows, without their traces, in `rows`: they are to be printed.
        told: makes of each finished row what is written.
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
            due += self._order.add(
                row.index, (self.told(row), self.traces.of(row) if self.traces is not None else None)
            )
        self._write(due)
        if self._order.waiting:
            self.record.hold([row for row, _ in self._order.waiting.values()])

    def end(self) -> None:
        """Write also the rows that wait for others, which are not coming any more; end the trace.

        Raises:
            MdmkitError: a file cannot be written.
        """
        if self._broken:
            return
        self._write(self._order.ready())
        self._write(self._order.rest())
        if self.traces is not None and self.traces.file.rows:
            self.traces.file.finish()

    def close(self) -> None:
        if self.record.file is not None:
            self.record.file.close()

    def _write(self, due: list[Written]) -> None:
        self._broken = True  # until it has gone well
        if self.record.file is not None:
            self.record.file.write([row for row, _ in due])
        for row, trace in due:
            if self.traces is not None and trace is not None:
                self.traces.file.write(trace)
            if self.collect:
                self.rows.append(row)
        self.finished += len(due)
        self._broken = False


__getattr__ = names_gone("cli.results")
