"""The files of rows and traces. If a row is a file, such as an image, a line of JSON stands for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit.cli.output import check_suffix, check_targets, has_begun, is_stream, record_of, write_whole
from mdmkit.cli.recorded import read_replaced
from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row
    from mdmkit.model.files import Files

ROWS = (".jsonl", ".ndjson")


class Filing:
    """Write each decoded row into a file of its own.

    One row, or with `sheet` all rows, become the file `output`. Several rows become numbered files beside the file of
    JSON lines `rows`; each line names its row's file.

    Args:
        files: of the backbone.
        output: what `--output` names: a file of the kind that `files` writes, or one of JSON lines.
        prompts: how many rows there will be.

    Attributes:
        rows: the file of JSON lines, or None.
        replaced: the file of JSON lines of an earlier run of that name, whose rows and pictures the one file replaces.

    Raises:
        MdmkitError: there is no output, its suffix is of neither kind, a file exists already, or an option does not
            fit.
    """

    def __init__(self, files: Files, output: Path | None, sheet: bool, prompts: int, resume: bool, overwrite: bool):
        kind, given = files.suffix, "" if output is None else output.suffix.lower()
        if output is None:
            raise MdmkitError(f"this model's rows are not texts: name a file for them with --output FILE{kind}.")
        if given not in (kind, *ROWS):
            raise MdmkitError(
                f"--output {output}: this model writes {kind} files. Name FILE{kind}, or FILE.jsonl for the rows with "
                f"numbered {kind} files beside it."
            )
        self.files, self.output, self.sheet, self.prompts, self.overwrite = files, output, sheet, prompts, overwrite
        self.rows: Path | None = None
        self.replaced: Path | None = None
        self._items: dict[int, Any] = {}
        if sheet and given != kind:
            raise MdmkitError(f"--grid puts all rows on one sheet, so --output is that sheet: name FILE{kind}.")
        if given == kind and (sheet or prompts == 1):
            if resume:
                raise MdmkitError(
                    f"--resume: {output} is written when everything is decoded, so there is nothing to continue. Name "
                    "a file FILE.jsonl to keep rows as they finish."
                )
            beside = output.with_suffix(".jsonl")
            before = read_replaced(record_of(beside))
            self.replaced = beside if overwrite and self._drew(before) and before["prompts"]["number"] else None
            return
        self.rows = output if given in ROWS else output.with_suffix(".jsonl")
        if self.rows != output:
            check_targets({"--output": self.rows}, {}, overwrite, "--output" if resume else None)
            self._check_rows(self.rows)
        taken = next((path for i in range(prompts) if (path := self.path(i)).exists()), None)
        if taken is not None and not (resume or overwrite):
            raise MdmkitError(
                f"--output {output}: {taken} exists. Name another, or add --overwrite to replace it, or --resume to go "
                "on with an unfinished run."
            )

    def _check_rows(self, rows: Path) -> None:
        """Refuse to replace a file of rows that nobody named, unless it is of an earlier run, which left its record."""
        if not self.overwrite or is_stream(rows) or record_of(rows).exists() or not has_begun(rows):
            return
        raise MdmkitError(
            f"--output {self.output}: the rows of {self.prompts} prompts go into {rows}, and there is no record of a "
            "run beside that file, so it may be your own and is not replaced. Move it away, or name another --output. "
            f"To replace it, name it: --output {rows}."
        )

    def path(self, index: int) -> Path:
        """The file of a row in a numbered run."""
        return self.output.with_name(f"{self.output.stem}-{index:04}{self.files.suffix}")

    def told(self, row: Row) -> dict[str, Any]:
        """Write a row's file, or keep the row for the file that is written last. Return the row as JSON."""
        path = self.output
        if self.rows is None:
            self._items[row.index] = row.text
        else:
            path = self.path(row.index)
            write_whole("--output", path, lambda part: self.files.save(row.text, part))
        return row.json() | {"text": None, "file": path.name}

    def intact(self, index: int) -> bool:
        """True if the file of a row is there, and whole as far as `files` can tell."""
        check = getattr(self.files, "intact", Path.is_file)
        return check(self.path(index))

    def stale(self, before: Mapping[str, Any]) -> list[Path]:
        """The numbered files of an earlier run, by its record, that this run does not write again."""
        return self._of_run(before, self.prompts if self.rows is not None else 0)

    def check_apart(self, prompts: Iterable[Prompt]) -> None:
        """Refuse prompts with an input that this run would write or remove, perhaps before it is read.

        Raises:
            MdmkitError: it names the prompt and the file.
        """
        files = [self.output, *(self.path(index) for index in range(self.prompts if self.rows is not None else 0))]
        if self.overwrite:
            files += self._of_run(read_replaced(record_of(self.rows or self.output.with_suffix(".jsonl"))))
        written = {path.resolve() for path in files}
        for prompt in prompts:
            for name, value in (prompt.inputs or {}).items():
                if isinstance(value, str) and value.isprintable() and Path(value).resolve() in written:
                    raise MdmkitError(
                        f"prompt {prompt.index}: its {name} is {value}, and --output {self.output} would replace or "
                        "remove this file. Name another --output."
                    )

    def _drew(self, run: Mapping[str, Any] | None) -> bool:
        """True if the rows of a run are files of this kind, by its record."""
        return run is not None and run.get("files") == self.files.suffix

    def _of_run(self, run: Mapping[str, Any] | None, first: int = 0) -> list[Path]:
        """The numbered files of a run that exist, by its record and from an index on; none if its rows are texts."""
        if run is None or not self._drew(run):
            return []
        # The folder is read: the number in a damaged record may be any.
        numbered = re.compile(rf"{re.escape(self.output.stem)}-([0-9]{{4,19}}){re.escape(self.files.suffix)}")
        try:
            names = [match for name in os.listdir(self.output.parent) if (match := numbered.fullmatch(name))]
        except OSError as error:
            raise MdmkitError(
                f"--output {self.output}: its folder cannot be listed ({error.strerror}), and files of an earlier run "
                "are to be replaced there. Name a file in another folder."
            ) from error
        indices = sorted({int(match[1]) for match in names if f"{int(match[1]):04}" == match[1]})
        return [self.path(index) for index in indices if first <= index < run["prompts"]["number"]]

    def finish(self) -> None:
        """Write what was kept, and remove what this run replaces."""
        if self.rows is not None:
            if self.overwrite and self.rows != self.output:
                self.output.unlink(missing_ok=True)  # one picture, or a sheet, of an earlier run
            return
        if not self._items:
            return
        items = [self._items[index] for index in sorted(self._items)]
        save = self.files.sheet if self.sheet else lambda items, part: self.files.save(items[0], part)
        write_whole("--output", self.output, lambda part: save(items, part))
        if self.replaced is not None:
            # The record last: after a kill, the same command still finds what is left.
            record = record_of(self.replaced)
            for path in (*self.stale(read_replaced(record)), self.replaced, record):
                path.unlink(missing_ok=True)


class TracePictures:
    """Draw how rows were filled, into the file of `--trace` and files beside it, when all rows are finished."""

    def __init__(self, files: Files, path: Path, overwrite: bool):
        self.files, self.path = files, path
        self._rows: list[Row] = []
        beside: dict[str, Path | None] = {f"--trace ({suffix})": path.with_suffix(suffix) for suffix in files.beside}
        check_targets(beside, {}, overwrite)

    def keep(self, row: Row) -> None:
        self._rows.append(replace(row, text=None))

    def finish(self) -> None:
        if self._rows:
            rows = sorted(self._rows, key=lambda row: row.index)
            try:
                self.files.picture(rows, self.path)
            except OSError as error:
                raise MdmkitError(f"--trace {self.path}: {error.strerror or error}.") from error


@dataclass(frozen=True)
class Places:
    """The files of a run's rows and of its trace.

    Attributes:
        rows: the file of JSON lines, or None.
        trace: the trace's JSON file, or None.
        filing: writes each row into a file of its own; None if rows are texts.
        pictures: draws the trace instead.
    """

    rows: Path | None
    trace: Path | None
    filing: Filing | None = None
    pictures: TracePictures | None = None

    def told(self, row: Row) -> dict[str, Any]:
        """Write a row into its file, if it has one. Return the row as JSON."""
        if self.pictures is not None:
            self.pictures.keep(row)
        return row.json() if self.filing is None else self.filing.told(row)

    def stale(self, before: Mapping[str, Any]) -> list[Path]:
        """The rows' files of an earlier run, by its record, that this run does not write again."""
        return [] if self.filing is None else self.filing.stale(before)

    def intact(self, index: int) -> bool:
        """True if a row has no file of its own, or this file is there and whole."""
        return self.filing is None or self.filing.intact(index)

    def finish(self) -> None:
        """Write the files that need all rows."""
        for part in (self.filing, self.pictures):
            if part is not None:
                part.finish()


def settle(
    files: Files | None,
    model: str,
    output: Path | None,
    trace: Path | None,
    grid: bool,
    prompts: int,
    resume: bool,
    overwrite: bool,
) -> Places:
    """Choose the files for the rows of `prompts` prompts, from `--output` and `--trace`.

    Raises:
        MdmkitError: the model's rows cannot go into such a file, a suffix says another format, or a file exists.
    """
    drawn = files is not None and trace is not None and trace.suffix.lower() == files.suffix
    if not drawn:
        more = f", or FILE{files.suffix} for a picture, with {', '.join(files.beside)} beside it" if files else ""
        check_suffix("--trace", trace, (".json",), f"a trace is JSON: name it FILE.json{more}.")
    if files is None:
        check_suffix("--output", output, ROWS, "the rows are texts, as JSON lines: name it FILE.jsonl.")
        if grid:
            raise MdmkitError(
                f"--grid is for models that draw images, and the rows of {model} are texts. Leave it out."
            )
        return Places(output, trace)
    filing = Filing(files, output, grid, prompts, resume, overwrite)
    if trace is not None and drawn:
        return Places(filing.rows, None, filing, TracePictures(files, trace, overwrite))
    return Places(filing.rows, trace, filing)
