"""One cell of the table, a sampler on a task: its judged rows, as JSON lines. A kill at any moment loses none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mdmkit import MdmkitError
from mdmkit.cli.commands import (
    RowFile,
    Slots,
    differences,
    has_begun,
    is_cost,
    is_number,
    is_record,
    is_result,
    read_record,
    read_row,
    record_of,
    require_contents,
    write_record,
)
from mdmkit_tasks.rereading import check_late

SCORE = "score"
# The fields that a judged row has beside those of a decoded one.
JUDGED = {
    SCORE: lambda value: value is None or is_number(value),
    "measures": lambda value: isinstance(value, dict) and all(map(is_number, value.values())),
    **dict.fromkeys(("calls", "seconds"), is_cost),
    "memory": lambda value: value is None or is_cost(value),
    "text": is_result,
}


class Cell:
    """The rows of one sampler on one task. Each is on disk as soon as it is judged.

    If a row is in the file twice, the last one counts: so a late verdict can be added.

    Args:
        path: the file; the record of its run is beside it.
        identity: the facts that two runs must share, so that one can continue the rows of the other.
        check: raises a ValueError for a row that was read and is none of this cell.
        overwrite: True: begin again.
        batch: the number of rows that are decoded together at first.
        auto: True: `batch` is only a first guess. A run that continues rows begins with the number in their record.

    Attributes:
        batch: the number of rows that this run begins with.
        began: the number that the run of the record began with.
        slots: index of a unit's first prompt -> the number of rows from this unit on, for `decode_batches`. A change is
            recorded at once, so a continued run decodes the same rows together.

    Raises:
        MdmkitError: the rows in the file belong to another run, or are not rows.
    """

    def __init__(
        self,
        path: Path,
        task: str,
        sampler: str,
        identity: dict[str, Any],
        check: Callable[[Mapping[str, Any]], None],
        overwrite: bool,
        batch: int,
        auto: bool = False,
    ):
        self.path, self.task, self.sampler = path, task, sampler
        self.batch = self.began = batch
        self.auto, self._check = auto, check
        self.slots = Slots({}, self._note)
        self.identity = json.loads(json.dumps(identity, default=str))
        self.rows: dict[tuple[int, int], dict[str, Any]] = {}
        size = 0
        if has_begun(path) and not overwrite:
            self._compare()
            size = self._read() if path.exists() else 0
        elif not is_record(record_of(path)):
            raise MdmkitError(
                f"{record_of(path)} is not a record of a run, so --overwrite does not replace it. Move it away, or "
                "name another --output."
            )
        self._size, self._file = size, None if size == 0 else RowFile(path, (len(self.rows), size))

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Write rows to disk, and count them.

        Raises:
            MdmkitError: they cannot be written.
        """
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = RowFile(
                self.path,
                opening=lambda: record_of(self.path).unlink(missing_ok=True),
                opened=self._record,
            )
        self._file.write(rows)
        self.rows |= {(row["seed"], row["index"]): row for row in rows}

    def unjudged(self) -> list[dict[str, Any]]:
        """Rows whose judge could not be reached."""
        return [row for row in self.rows.values() if row[SCORE] is None]

    def of(self, seeds: range, count: int) -> list[dict[str, Any]]:
        """The rows of these seeds, in order."""
        return [self.rows[seed, index] for seed in seeds for index in range(count) if (seed, index) in self.rows]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _record(self) -> None:
        write_record(self.path, self.identity, [], self.slots, self.began)

    def _note(self, slots: dict[int, int]) -> None:
        if self._file is not None and self._file.begun:  # before that, the record is written with the first rows
            self._record()

    def _compare(self) -> None:
        try:
            before = read_record(record_of(self.path))
        except (OSError, ValueError) as error:
            raise self._without_record(error) from None
        require_contents(before.run, str(self.path), "Its record")
        self.slots = Slots(before.slots, self._note)
        self.began = before.batch or self.batch
        if self.auto:
            self.batch = self.began
        if different := list(differences(before.run, self.identity)):
            changed = any(said.startswith("prompts (the same number") for said in different)
            why = (
                f" If you asked for the same, the data of task {self.task!r} changed, or it draws its prompts without "
            )
            raise MdmkitError(
                f"{self.path} is of another run: {'; '.join(different)}.{why + 'the seed.' if changed else ''} Ask for "
                "the same, or start again with --overwrite, or name another --output."
            )

    def _without_record(self, error: OSError | ValueError) -> MdmkitError:
        record = record_of(self.path)
        if isinstance(error, FileNotFoundError):
            said = f"{self.path} has no record ({record.name}) of its run. Start"
        else:
            why = getattr(error, "strerror", None) or error
            # Without the keys of a record it may be a file of the user's own, which --overwrite does not replace.
            start = "Start" if is_record(record) else f"Move {record.name} away and start"
            said = f"{self.path}: {record.name} does not record its run: {why}. {start}"
        return MdmkitError(f"{said} again with --overwrite, or name another --output.")

    def _read(self) -> int:
        """Read the rows; return the number of bytes of complete lines."""
        size = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):  # cut short while it was written
                    break
                try:
                    row = read_row(line, JUDGED)
                    self._check(row)
                    check_late(self.rows.get((row["seed"], row["index"])), row)
                except ValueError as error:
                    raise MdmkitError(
                        f"line {number} of {self.path} is not a row of this run: {error}. Start again with "
                        "--overwrite, or name another --output."
                    ) from None
                self.rows[row["seed"], row["index"]] = row
                size += len(line)
        return size
