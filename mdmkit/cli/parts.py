"""The parts of a run that `mdmkit decode --shard` wrote: read their records, and check that they can be joined."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from mdmkit.cli.output import has_begun, record_of
from mdmkit.cli.recorded import is_record, read_record, require_contents
from mdmkit.cli.resuming import differences
from mdmkit.cli.rows import read_row
from mdmkit.decoding.shards import Shard
from mdmkit.errors import MdmkitError, shown
from mdmkit.settings.numbers import is_whole

# An error names at most this many parts.
NAMED = 8


@dataclass(frozen=True)
class Part:
    """The output of one shard.

    Attributes:
        run: the identity of the whole run, without the shard.
        batch: of all shards.
        slots: see `mdmkit.cli.resuming.Kept`.
        state: of the output and its record, to see that they stay as they are.
    """

    path: Path
    run: dict[str, Any]
    shard: Shard
    batch: int
    slots: dict[int, int]
    state: tuple[Any, ...]

    @property
    def indices(self) -> range:
        """The indices of its rows."""
        return self.shard.indices(self.run["prompts"]["number"], self.batch)

    def check_unchanged(self) -> None:
        """Raise an error if the part is no longer as it was when it was checked."""
        if _state(self.path) != self.state:
            raise MdmkitError(f"{self.path}: the file has changed while it was read. Wait until its run has ended.")


def check_there(paths: Sequence[Path]) -> None:
    """Refuse what is not a file, and a file that is named twice."""
    seen: dict[Path, Path] = {}
    for path in paths:
        if not path.is_file():
            what = "it is not a file" if path.exists() else "there is no such file"
            raise MdmkitError(f"{path}: {what}. Name the output of each shard of `mdmkit decode --shard`.")
        twin = seen.setdefault(path.resolve(), path)
        if twin is not path:
            raise MdmkitError(f"{twin} and {path} are one file: name each part once.")


def read_part(path: Path) -> Part:
    """Read the record of a part.

    Raises:
        MdmkitError: the file is not the output of a shard; the error says why.
    """
    record = record_of(path)
    if not has_begun(path):
        raise MdmkitError(f"{path}: its run was stopped before its first rows. Run its command again with --resume.")
    state = _state(path)
    try:
        before = read_record(record)
        run = dict(before.run)
        given = run.pop("shard", None)
        shard, batch = (None, 0) if given is None else _shard(given)
    except FileNotFoundError:
        raise MdmkitError(
            f"{path}: {record.name}, the record of its run, is not beside it. Move each record together with its file."
        ) from None
    except ValueError as error:
        raise MdmkitError(
            f"{path}: {record.name} does not record the run of a shard: {error}. "
            f"{'Run' if is_record(record) else f'Move {record.name} away and run'} its command again with --overwrite."
        ) from error
    way_on = "Decode the run again: `mdmkit decode --shard` writes the parts that can be joined."
    require_contents(run, str(path), "Its record", way_on)
    if shard is None:
        raise MdmkitError(
            f"{path}: its rows are of a whole run, not of a shard. Name outputs of `mdmkit decode --shard`."
        )
    return Part(path, run, shard, batch, before.slots, state)


def in_order(parts: Iterable[Part]) -> list[Part]:
    """Return the parts in the order of their shards.

    Raises:
        MdmkitError: two are of different runs, a shard is there twice, or one is missing.
    """
    first, *others = parts
    for part in others:
        _check_same(first, part)
    found: dict[int, Part] = {}
    for part in (first, *others):
        twin = found.setdefault(part.shard.number, part)
        if twin is not part:
            raise MdmkitError(f"{twin.path} and {part.path} are both shard {part.shard}: name one of them.")
    of = first.shard.of
    if missing := list(itertools.islice((number for number in range(1, of + 1) if number not in found), NAMED)):
        more = f" and {of - len(found) - len(missing)} more" if of - len(found) > len(missing) else ""
        names = f"{', '.join(f'{number}/{of}' for number in missing)}{more}"
        one = of - len(found) == 1
        raise MdmkitError(
            f"{'shard' if one else 'shards'} {names} {'is' if one else 'are'} missing: name the output of every shard, "
            f"also an empty one. What is not decoded yet is decoded by the same command with --shard {missing[0]}/{of} "
            "and another --output."
        )
    return [found[number] for number in sorted(found)]


def check_rows(parts: Sequence[Part]) -> None:
    """Read all rows.

    Raises:
        MdmkitError: a part is unfinished, or a line is not a row that belongs there.
    """
    unfinished = []
    for part in parts:
        rows, whole = _rows(part)
        if not whole:
            unfinished.append(f"{part.path} (shard {part.shard}, {rows} of {len(part.indices)} rows)")
    if unfinished:
        more = f" and {len(unfinished) - NAMED} more" if len(unfinished) > NAMED else ""
        it, its = ("it is", "its command") if len(unfinished) == 1 else ("they are", "the command of each")
        raise MdmkitError(
            f"{', '.join(unfinished[:NAMED])}{more}: {it} unfinished. If nobody is at work on it, run {its} again with "
            "--resume."
        )


def _check_same(first: Part, part: Part) -> None:
    if first.shard.of != part.shard.of:
        raise MdmkitError(
            f"{first.path} is shard {first.shard}, and {part.path} is shard {part.shard}: parts of one run "
            "have the same number of shards."
        )
    words = (f"in {first.path}", f"in {part.path}")
    theirs, ours = ({"batch": each.batch} | each.run for each in (first, part))
    if different := list(differences(theirs, ours, words=words)):
        raise MdmkitError(
            f"{first.path} and {part.path} are of two runs: {'; '.join(different)}. Name parts of one run, or decode "
            "one of the two again, with the options of the other and --overwrite."
        )


def _rows(part: Part) -> tuple[int, bool]:
    """Return the number of rows in a file, and whether these are all rows, in order."""
    due, count, ordered = part.indices.start, 0, True
    with part.path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):  # cut short while it was written
                return count, False
            try:
                index = read_row(line)["index"]
                if not due <= index < part.indices.stop:
                    raise ValueError(f"its 'index' is {index}, and {_wanted(part, due)}")
            except ValueError as error:
                raise MdmkitError(
                    f"line {number} of {part.path} is not a row that belongs there: {error}. Run the command of shard "
                    f"{part.shard} again with --overwrite."
                ) from None
            ordered = ordered and index == due  # rows that waited for others stand behind a gap
            due, count = index + 1, count + 1
    return count, ordered and due == part.indices.stop


def _wanted(part: Part, due: int) -> str:
    if due >= part.indices.stop:
        return f"all {len(part.indices)} rows of shard {part.shard} stand before it"
    return f"here shard {part.shard} has rows {due} to {part.indices.stop - 1}"


def _shard(given: Any) -> tuple[Shard, int]:
    if isinstance(given, dict):
        number, of, batch = (given.get(key) for key in ("number", "of", "batch"))
        if _is_from_1(number) and _is_from_1(of) and _is_from_1(batch) and number <= of:
            return Shard(number, of), batch
    raise ValueError(f"the 'shard' of its run is {shown(given, 60)}")


def _is_from_1(value: Any) -> TypeGuard[int]:
    return is_whole(value) and value >= 1


def _state(path: Path) -> tuple[Any, ...]:
    found = []
    for file in (path, record_of(path)):
        known = os.stat(file) if file.exists() else None
        found.append(known and (known.st_ino, known.st_size, known.st_mtime_ns))
    return tuple(found)
