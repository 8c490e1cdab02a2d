"""Images in the layout that GenEval's judge reads: for each prompt a folder, with metadata and numbered samples.

The layout is that of the benchmark's README (Ghosh et al., arXiv:2310.11513); its own scripts judge the images.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError, row_seed
from mdmkit.cli.commands import (
    differences,
    from_json,
    read_record,
    read_whole,
    record_of,
    write_record,
    write_text,
    write_whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mdmkit import Files

# Keys that the judge reads for every prompt.
NEEDED = ("prompt", "tag")
# Files that a file manager leaves in folders that it has shown.
LEFT_BEHIND = {".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Metadata:
    """GenEval's `evaluation_metadata.jsonl`.

    Attributes:
        lines: each prompt's object, as it is written in the file.
        prompts: each object's `prompt`.
        places: file and line of each, for errors.
    """

    lines: list[str]
    prompts: list[str]
    places: list[str]

    @classmethod
    def read(cls, file: Path) -> Metadata:
        """Read the file.

        Raises:
            MdmkitError: it cannot be read or is empty, or a line is not an object with a `prompt` and a `tag`.
        """
        try:
            text = read_whole(file).decode("utf-8-sig")
        except OSError as error:
            raise MdmkitError(
                f"--metadata {file}: {error.strerror or error}. Name GenEval's file of JSON lines."
            ) from None
        except UnicodeDecodeError:
            raise MdmkitError(f"--metadata {file}: not UTF-8 text. It should hold one JSON object per line.") from None
        lines, prompts, places = [], [], []
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                places.append(f"{file}, line {number}")
                lines.append(line.strip())
                prompts.append(_prompt(lines[-1], places[-1]))
        if not lines:
            raise MdmkitError(f"--metadata {file}: the file holds no prompt. Write one JSON object per line.")
        return cls(lines, prompts, places)

    def told(self) -> dict[str, Any]:
        """The facts that two runs must share, so that one can continue the images of the other."""
        return {"number": len(self.lines), "sha256": hashlib.sha256("\n".join(self.lines).encode()).hexdigest()}


def _prompt(line: str, place: str) -> str:
    try:
        given = from_json(line)
    except (ValueError, RecursionError) as error:
        raise MdmkitError(
            f'{place}: not JSON ({error}); a line is an object such as {{"tag": "…", "prompt": "…"}}.'
        ) from None
    for key in NEEDED:
        if not isinstance(given, dict) or not isinstance(given.get(key), str):
            raise MdmkitError(f"{place}: it has no text {key!r}, which GenEval's judge reads. Add it.")
    return given["prompt"]


class Folders:
    """The directory that GenEval's judge reads.

    Args:
        path: the directory; it may not exist.
        metadata: that of the prompts; the folder of prompt n is n in five digits.
        samples: images per prompt.
    """

    def __init__(self, path: Path, metadata: Metadata, samples: int):
        self.path, self.metadata, self.samples = path, metadata, samples

    def open(self, run: dict[str, Any]) -> None:
        """Record the run of the images, and write every prompt's metadata.

        Raises:
            MdmkitError: the directory holds another run's images or something else, or cannot be written.
        """
        record = record_of(self.path / "geneval")
        run = json.loads(json.dumps(run | {"prompts": self.metadata.told()}))
        try:
            fresh = not record.exists()
            if fresh and self.path.exists() and {file.name for file in self.path.iterdir()} - LEFT_BEHIND:
                raise MdmkitError(
                    f"--output {self.path}: it is not empty, and holds no run that could be continued. Name another "
                    "directory."
                )
            if not fresh and (different := list(differences(read_record(record).run, run))):
                raise MdmkitError(
                    f"--output {self.path} is of another run: {'; '.join(different)}. Ask for the same, or name "
                    "another directory."
                )
            if (further := self._further()) is not None:
                raise MdmkitError(
                    f"--samples {self.samples}: {further} is of an earlier run with more, and the judge would count "
                    "it. Ask for as many as then, or name another directory."
                )
            self.path.mkdir(parents=True, exist_ok=True)
            if fresh:  # before the images: otherwise an interrupted run could not be continued
                write_record(self.path / "geneval", run, [])
            for number in range(len(self.metadata.lines)):
                self.sample(number, 0).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MdmkitError(f"--output {self.path}: {error.strerror or error}. Name another directory.") from error
        except ValueError as error:
            raise MdmkitError(
                f"--output: {record} is not a record of a run: {error}. Name another directory."
            ) from error
        for number, line in enumerate(self.metadata.lines):
            write_text("--output", self.sample(number, 0).parents[1] / "metadata.jsonl", line + "\n")

    def _further(self) -> Path | None:
        """A sample that is there, and has a higher number than this run's; None if there is none."""
        found = (path for place in sorted(self.path.glob("*/samples")) for path in sorted(place.glob("*.png")))
        return next((path for path in found if path.stem.isdecimal() and int(path.stem) >= self.samples), None)

    def sample(self, prompt: int, number: int) -> Path:
        return self.path / f"{prompt:05}" / "samples" / f"{number:04}.png"

    def requests(self, seed: int) -> Iterator[dict[str, Any]]:
        """All images in order, as prompts. A sample's seed does not depend on the number of samples."""
        for number, text in enumerate(self.metadata.prompts):
            for sample in range(self.samples):
                yield {"prompt": text, "seed": row_seed(row_seed(seed, number), sample)}

    def done(self, intact: Callable[[Path], bool]) -> set[int]:
        """The indices of `requests` whose images are already complete; `intact` is that of the backbone's files."""
        rows = len(self.metadata.lines) * self.samples
        return {row for row in range(rows) if intact(self.sample(*divmod(row, self.samples)))}

    def save(self, row: int, image: Any, files: Files) -> None:
        """Write the image of a request, so that a reader sees the complete file or none.

        Raises:
            MdmkitError: it cannot be written.
        """
        write_whole("--output", self.sample(*divmod(row, self.samples)), lambda part: files.save(image, part))
