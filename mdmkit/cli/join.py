"""`mdmkit join`: make one output from the outputs of all shards of a run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import click

from mdmkit.cli.filing import ROWS
from mdmkit.cli.locking import held
from mdmkit.cli.output import can_resume, check_record, check_suffix, check_targets, record_of, to_disk, write_whole
from mdmkit.cli.parts import Part, check_rows, check_there, in_order, read_part
from mdmkit.cli.resuming import as_record
from mdmkit.cli.saying import say
from mdmkit.cli.target import Target
from mdmkit.errors import MdmkitError
from mdmkit.terminal import to_json


@click.command()
@click.argument("parts", nargs=-1, required=True, metavar="PART...", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=Target(), help="The file for all rows, FILE.jsonl.")
@click.option("--overwrite", is_flag=True, help="Replace an --output that exists.")
def join(parts: tuple[Path, ...], output: Path, overwrite: bool) -> None:
    """Join the outputs of all shards of a run (`mdmkit decode --shard`), in any order.

    The file and the record beside it are those that one run without --shard would have written. The parts stay as they
    are.
    """
    if not can_resume(output) and not output.is_dir():
        raise MdmkitError(f"--output {output}: it is a pipe or a device, and keeps no record of the run. Name a file.")
    check_suffix("--output", output, ROWS, "the rows are JSON lines: name it FILE.jsonl.")
    _check_files(parts, output, overwrite)
    with held("--output", output):
        _check_files(parts, output, overwrite)  # again, now that nobody else writes there
        found = in_order([read_part(part) for part in parts])
        check_rows(found)
        _write(found, output)
    rows = found[0].run["prompts"]["number"]
    say(f"{rows} rows of {len(found)} shard{'s' if len(found) > 1 else ''} are in {output}.")


def _check_files(parts: Sequence[Path], output: Path, overwrite: bool) -> None:
    """Refuse a part that is no file, and an output that exists or is a file of a part."""
    check_there(parts)
    sources = {f"part {part}": part for part in parts} | {f"the record of {part}": record_of(part) for part in parts}
    targets: dict[str, Path | None] = {"--output": output, "the record beside --output,": record_of(output)}
    check_targets(targets, sources, overwrite, resumable=False)
    check_record(output)


def _write(parts: Sequence[Part], output: Path) -> None:
    """Write the rows and the record. Both get their names at the end, and rows never stand beside another record."""
    record, slots = record_of(output), _slots(parts)
    document = as_record(parts[0].run, [], slots, parts[0].batch)

    def copy(file: Path) -> None:
        with file.open("wb") as joined:
            for part in parts:
                with part.path.open("rb") as rows:
                    shutil.copyfileobj(rows, joined, 1 << 20)
                part.check_unchanged()
            joined.flush()
            to_disk(joined)
        record.unlink(missing_ok=True)

    def write(file: Path) -> None:
        file.write_text(to_json(document), encoding="utf-8")
        write_whole("--output", output, copy)

    write_whole("--output", record, write)


def _slots(parts: Sequence[Part]) -> dict[int, int]:
    """The slots of all parts. In one run a number holds for all later units, so only smaller ones are noted."""
    slots: dict[int, int] = {}
    for part in parts:
        for first, number in sorted(part.slots.items()):
            if number < min((part.batch, *slots.values())):
                slots[first] = number
    return slots
