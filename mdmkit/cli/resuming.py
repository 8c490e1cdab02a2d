"""Going on with a run that was cut short: what its file holds, and whether it was the same run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit.cli.output import can_resume, has_begun, record_of, write_json
from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt

_ABSENT = "nothing"


@dataclass(frozen=True)
class Kept:
    """What an earlier run has finished.

    Attributes:
        rows: number of rows at the head of the file without a gap.
        size: bytes that these take.
        waiting: rows further on, by index: they are finished, and due once those before them are.
        slots: how many rows were decoded at once, by the index of the first prompt of the unit from which on memory was
            too small for more.
    """

    rows: int = 0
    size: int = 0
    waiting: dict[int, dict[str, Any]] = field(default_factory=dict)
    slots: dict[int, int] = field(default_factory=dict)

    @property
    def done(self) -> set[int]:
        return {*range(self.rows), *self.waiting}


def check_resume(output: Path | None, trace: Path | None, overwrite: bool) -> None:
    """Refuse what cannot go with `--resume`.

    Raises:
        MdmkitError: there is no output to go on with, or another option that says otherwise.
    """
    if output is None:
        raise MdmkitError("--resume goes on with the file that --output names: give --output FILE.jsonl as well.")
    if overwrite:
        raise MdmkitError("--resume keeps the rows of --output and --overwrite replaces them: give one of the two.")
    if trace is not None:
        raise MdmkitError(
            "--resume and --trace: rows that an earlier run has finished are not decoded again, and so leave no trace. "
            "Leave --trace out, or start again with --overwrite in place of --resume."
        )
    if not can_resume(output):
        raise MdmkitError(f"--resume: {output} is a pipe or a device, and keeps no rows. Name a file.")


def write_record(
    output: Path, run: dict[str, Any], waiting: Iterable[dict[str, Any]], slots: dict[int, int] | None = None
) -> None:
    """Record which run an output is of, rows of it that wait for earlier ones, and units that had fewer slots."""
    document: dict[str, Any] = {"run": run, "waiting": list(waiting)}
    if slots:
        document["slots"] = {str(first): number for first, number in slots.items()}
    write_json("--output", record_of(output), document)


class Slots(dict[int, int]):
    """How many slots units have, by the index of the first prompt of the first of them; every change is noted at once.

    Args:
        known: what an earlier run had noted.
        note: is told of all of them.
    """

    def __init__(self, known: dict[int, int], note: Callable[[dict[int, int]], None]):
        super().__init__(known)
        self._note = note

    def __setitem__(self, first: int, number: int) -> None:
        super().__setitem__(first, number)
        self._note(self)


def identity(document: dict[str, Any], prompts: Sequence[Prompt], **settings: Any) -> dict[str, Any]:
    """What two runs must have in common so that one can go on with the rows of the other."""
    from mdmkit.noise import row_seed

    digest, seed = hashlib.sha256(), document["sampler"]["seed"]
    for prompt in prompts:
        said = asdict(prompt) | {"index": None}
        if prompt.seed == row_seed(seed, prompt.index):  # the run's seed is compared by itself
            said["seed"] = None
        digest.update(json.dumps(said, default=str).encode("utf-8", "surrogatepass") + b"\n")
    asked = {"number": len(prompts), "sha256": digest.hexdigest()}
    return json.loads(json.dumps(document | settings | {"prompts": asked}))


def reopen(output: Path, run: dict[str, Any], prompts: int) -> Kept:
    """Find out how far a run got; a last line that was only half written is left out.

    Rows beyond a gap, which an interrupted run appends, move from the output to the record beside it, where they wait.

    Raises:
        MdmkitError: the file is of another run, which is told apart by what differs; or it is no output at all.
    """
    record = record_of(output)
    if not has_begun(output):
        return Kept()
    try:
        before = json.loads(record.read_text(encoding="utf-8"))
        theirs = before["run"]
        waiting = {_index(row, theirs["prompts"]["number"]): row for row in before["waiting"]}
        slots = {int(first): int(number) for first, number in before.get("slots", {}).items()}
    except OSError as error:
        raise MdmkitError(
            f"--resume: {record}, which says what run {output} is of, cannot be read ({error.strerror or error}). "
            "Start again with --overwrite, or name another --output."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MdmkitError(
            f"--resume: {record} does not say what run {output} is of. Start again with --overwrite, or name another "
            "--output."
        ) from error
    if different := list(differences(theirs, run)):
        raise MdmkitError(
            f"--resume: {output} is of another run: {'; '.join(different)}. Ask for the same, or start again with "
            "--overwrite, or name another --output."
        )
    kept = Kept(waiting=waiting)
    if output.exists():
        kept = _read(output, prompts, waiting)
    kept = replace(kept, slots=slots)
    if kept.waiting:
        write_record(output, run, kept.waiting.values(), slots)
    return kept


def rows_of(output: Path, number: int) -> Iterator[dict[str, Any]]:
    """The first rows of an output."""
    with output.open("rb") as lines:
        for _, line in zip(range(number), lines, strict=False):
            yield json.loads(line)


def _index(row: Any, prompts: int) -> int:
    """Whose row it is; a ValueError where it is nobody's."""
    index = row["index"]
    if type(index) is not int or not 0 <= index < prompts:
        raise ValueError
    return index


def _read(output: Path, prompts: int, waiting: dict[int, dict[str, Any]]) -> Kept:
    rows, size, last = 0, 0, -1
    with output.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):  # cut short while it was written
                break
            try:
                row = json.loads(line)
                index = _index(row, prompts)
                if index <= last:
                    raise ValueError
            except (ValueError, TypeError, KeyError):
                raise MdmkitError(
                    f"--resume: line {number} of {output} is no row of this run. Start again with --overwrite, or name "
                    "another --output."
                ) from None
            last = index
            if index == rows:
                rows, size = rows + 1, size + len(line)
            else:
                waiting[index] = row
    return Kept(rows, size, {index: row for index, row in sorted(waiting.items()) if index >= rows})


def differences(theirs: Any, ours: Any, path: str = "") -> Iterator[str]:
    """Say what differs between two runs, by dotted name."""
    if path == "prompts":
        if theirs == ours:
            return
        if isinstance(theirs, dict) and theirs.get("number") != ours["number"]:
            yield f"prompts ({theirs.get('number')} then, {ours['number']} now)"
        else:
            yield "prompts (as many, but not the same)"
    elif isinstance(theirs, dict) and isinstance(ours, dict):
        for key in {**theirs, **ours}:
            inner = f"{path}.{key}" if path else key
            yield from differences(theirs.get(key, _ABSENT), ours.get(key, _ABSENT), inner)
    elif theirs != ours:
        yield f"{path} ({_said(theirs)} then, {_said(ours)} now)"


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def is_record(path: Path) -> bool:
    """Whether a file is such a record, and so may be replaced together with the output it belongs to."""
    if not path.exists():
        return True
    try:
        return {"run", "waiting"} == set(json.loads(path.read_text(encoding="utf-8"))) - {"slots"}
    except (OSError, ValueError, TypeError):
        return False
