"""Continue an interrupted run: read the rows in its file, and check that it is the same run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit._gone import names_gone
from mdmkit.cli.contents import changed
from mdmkit.cli.output import can_resume, has_begun, record_of, write_json
from mdmkit.cli.recorded import Recorded, read_record, require_contents, start_again
from mdmkit.cli.rows import read_row
from mdmkit.errors import MdmkitError, shown

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt

# Returns a row, or raises a ValueError that says why it is none of this run.
Check = Callable[[Any], dict[str, Any]]

_ABSENT = "nothing"


@dataclass(frozen=True)
class Kept:
    """The rows that an earlier run has finished.

    Attributes:
        rows: number of rows at the head of the file without a gap.
        size: bytes that these take.
        waiting: later rows, by index. They are finished, and are written after those before them.
        slots: the number of rows that were decoded at once, by the index of the first prompt of a unit: the memory was
            too small for more from this unit on.
        batch: the number that the run began with; None: nothing is recorded.
        first: the index of the run's first row: of a shard it is not 0.
    """

    rows: int = 0
    size: int = 0
    waiting: dict[int, dict[str, Any]] = field(default_factory=dict)
    slots: dict[int, int] = field(default_factory=dict)
    batch: int | None = None
    first: int = 0

    @property
    def due(self) -> int:
        """The index of the first row that is not at the head of the file."""
        return self.first + self.rows

    @property
    def done(self) -> set[int]:
        return {*range(self.first, self.due), *self.waiting}


def check_resume(output: Path | None, trace: Path | None, overwrite: bool) -> None:
    """Refuse options that contradict `--resume`.

    Raises:
        MdmkitError: there is no output to continue, or another option contradicts it.
    """
    if output is None:
        raise MdmkitError("--resume continues the file of --output: give --output FILE.jsonl too.")
    if overwrite:
        raise MdmkitError("--resume keeps the rows of --output and --overwrite replaces them: give one of the two.")
    if trace is not None:
        raise MdmkitError(
            "--resume and --trace: rows that an earlier run has finished are not decoded again, so they have no "
            "trace. Leave --trace out, or start again with --overwrite instead of --resume."
        )
    if not can_resume(output):
        raise MdmkitError(f"--resume: {output} is a pipe or a device, and keeps no rows. Name a file.")


def write_record(
    output: Path,
    run: dict[str, Any],
    waiting: Iterable[dict[str, Any]],
    slots: dict[int, int] | None = None,
    batch: int | None = None,
) -> None:
    """Record the run of an output, its rows that wait for earlier ones, its batch, and units that had fewer slots."""
    write_json("--output", record_of(output), as_record(run, waiting, slots, batch))


def as_record(
    run: dict[str, Any],
    waiting: Iterable[dict[str, Any]],
    slots: dict[int, int] | None = None,
    batch: int | None = None,
) -> dict[str, Any]:
    """The document that `write_record` writes."""
    document: dict[str, Any] = {"run": run, "waiting": list(waiting)}
    if batch is not None:
        document["batch"] = batch
    if slots:
        document["slots"] = {str(first): number for first, number in slots.items()}
    return document


class Slots(dict[int, int]):
    """The number of slots of units, by the index of the first prompt from which on it holds. Changes are noted at once.

    Args:
        known: the numbers that an earlier run had noted.
        note: called with all numbers at each change.
    """

    def __init__(self, known: dict[int, int], note: Callable[[dict[int, int]], None]):
        super().__init__(known)
        self._note = note

    def __setitem__(self, first: int, number: int) -> None:
        super().__setitem__(first, number)
        self._note(self)


def identity(
    document: dict[str, Any],
    prompts: Sequence[Prompt],
    own: Mapping[int, dict[str, Any]],
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """The facts that two runs must share, so that one can continue the rows of the other.

    Args:
        own: index of a prompt -> its own keys, which are written into its row.
        options: those that may have changed the prompts, by name; an error names the one that did.
    """
    from mdmkit.noise import row_seed

    digest, seed = hashlib.sha256(), document["sampler"]["seed"]
    for prompt in prompts:
        said = asdict(prompt) | {"index": None, "own": own.get(prompt.index)}
        if prompt.seed == row_seed(seed, prompt.index):  # the run's seed is compared by itself
            said["seed"] = None
        digest.update(json.dumps(said, default=str).encode("utf-8", "surrogatepass") + b"\n")
    asked = {"number": len(prompts), "sha256": digest.hexdigest(), "options": list(_as_given(options or {}))}
    return json.loads(json.dumps(document | settings | {"prompts": asked}))


def _as_given(options: Mapping[str, Any]) -> Iterator[str]:
    """Write options as on the command line; those that were not given are left out."""
    for name, value in options.items():
        if isinstance(value, bool):
            yield name if value else name.replace("--", "--no-", 1)
        elif isinstance(value, Mapping):
            yield from (f"{name} {key}={shown(each, 60)}" for key, each in value.items())
        elif value is not None:
            yield f"{name} {shown(value, 60)}"


def reopen(output: Path, run: dict[str, Any], check: Check, first: int = 0) -> Kept:
    """Find the finished rows of a run. A last line that was only half written is left out.

    An interrupted run also appends rows after a gap. They move from the output to the record beside it, and wait there.

    Args:
        check: returns a row, or raises a ValueError that says why it is none of this run.
        first: the index of the run's first row.

    Raises:
        MdmkitError: the file belongs to another run, and the error says what differs; or it is not an output.
    """
    if not has_begun(output):
        return Kept(first=first)
    before = record_to_resume(output)
    if "contents" in run:
        require_contents(before.run, f"--resume: the record of {output}", "It")
    if different := list(differences(before.run, run)):
        raise MdmkitError(
            f"--resume: {output} is of another run: {'; '.join(different)}. Ask for the same, or start again with "
            "--overwrite, or name another --output."
        )
    try:
        waiting = {check(row)["index"]: row for row in before.waiting}
    except ValueError as error:
        raise MdmkitError(
            f"--resume: {record_of(output)} does not record the run of {output}: of a row that waits there, {error}. "
            "Start again with --overwrite, or name another --output."
        ) from None
    kept = Kept(waiting=waiting, first=first)
    if output.exists():
        kept = _read(output, check, waiting, first)
    kept = replace(kept, slots=before.slots, batch=before.batch)
    if kept.waiting or before.waiting:  # a kill may leave rows that wait no longer: they are taken out
        write_record(output, run, kept.waiting.values(), kept.slots, kept.batch)
    return kept


def record_to_resume(output: Path) -> Recorded:
    """Read the record of an output that is to be continued.

    Raises:
        MdmkitError: it cannot be read, is no record, or is damaged; the error says what is wrong.
    """
    record = record_of(output)
    try:
        return read_record(record)
    except OSError as error:
        raise MdmkitError(
            f"--resume: {record}, which records the run of {output}, cannot be read ({error.strerror or error}). "
            "Start again with --overwrite, or name another --output."
        ) from None
    except ValueError as error:
        raise MdmkitError(
            f"--resume: {record} does not record the run of {output}: {error}. {start_again(record)}"
        ) from error


def without(output: Path, run: dict[str, Any], kept: Kept, lost: Sequence[int]) -> Kept:
    """Take rows out of those that are kept, so that they are decoded again. Rows after the first of them wait.

    Args:
        lost: their indices, ascending.
    """
    rows, size, waiting, gone = kept.rows, kept.size, {**kept.waiting}, {*lost}
    if lost[0] < kept.due:
        with output.open("rb") as lines:
            head = [line for _, line in zip(range(rows), lines, strict=False)]
        rows = lost[0] - kept.first
        size = sum(map(len, head[:rows]))
        waiting |= {index: json.loads(line) for index, line in enumerate(head[rows:], lost[0])}
    left = {i: row for i, row in sorted(waiting.items()) if i not in gone}
    kept = replace(kept, rows=rows, size=size, waiting=left)
    write_record(output, run, left.values(), kept.slots, kept.batch)  # before the rows are cut off the output
    return kept


def rows_of(output: Path, number: int) -> Iterator[dict[str, Any]]:
    """The first rows of an output."""
    with output.open("rb") as lines:
        for _, line in zip(range(number), lines, strict=False):
            yield json.loads(line)


def _read(output: Path, check: Check, waiting: dict[int, dict[str, Any]], first: int) -> Kept:
    rows, size, last = 0, 0, -1
    with output.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):  # cut short while it was written
                break
            try:
                row = check(read_row(line))
                index = row["index"]
                if index <= last:
                    raise ValueError(f"its 'index' is {index}, after {last}")
            except ValueError as error:
                raise MdmkitError(
                    f"--resume: line {number} of {output} is not a row of this run: {error}. Start again with "
                    "--overwrite, or name another --output."
                ) from None
            last = index
            if index == first + rows:
                rows, size = rows + 1, size + len(line)
            else:
                waiting[index] = row
    left = {index: row for index, row in sorted(waiting.items()) if index >= first + rows}
    return Kept(rows, size, left, first=first)


def differences(theirs: Any, ours: Any, path: str = "", words: tuple[str, str] = ("then", "now")) -> Iterator[str]:
    """Describe the differences between two runs, by dotted name; `words` name the two."""
    if path == "contents":
        yield from changed(theirs, ours, words)
    elif path == "prompts":
        yield from _other_prompts(theirs if isinstance(theirs, dict) else {}, ours, words)
    elif isinstance(theirs, dict) and isinstance(ours, dict):
        for key in {**theirs, **ours}:
            inner = f"{path}.{key}" if path else key
            yield from differences(theirs.get(key, _ABSENT), ours.get(key, _ABSENT), inner, words)
    elif theirs != ours:
        yield f"{path} ({_said(theirs)} {words[0]}, {_said(ours)} {words[1]})"


def _other_prompts(theirs: Mapping[str, Any], ours: Mapping[str, Any], words: tuple[str, str]) -> Iterator[str]:
    """Say how the prompts differ. Options that changed none of them do not count."""
    if theirs.get("number") != ours["number"]:
        yield f"prompts ({_said(theirs.get('number'))} {words[0]}, {ours['number']} {words[1]})"
    elif theirs.get("sha256") != ours["sha256"]:
        then, now = theirs.get("options") or [], ours.get("options") or []
        with_other = [f"with {option} {words[0]}" for option in then if option not in now]
        with_other += [f"with {option} {words[1]}" for option in now if option not in then]
        yield f"prompts (the same number, but {', '.join(with_other) or 'other prompts'})"


def _said(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text)} characters)"


__getattr__ = names_gone("cli.resuming")
