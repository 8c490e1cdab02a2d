"""An evaluation: every sampler on every task; then numbers, tests, tables and plots, all in one directory."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mdmkit
from mdmkit import MdmkitError
from mdmkit.cli.commands import as_engine, chosen_batch, contents, default_registry, opened, write_json
from mdmkit_tasks import report
from mdmkit_tasks.cell import Cell
from mdmkit_tasks.request import Asked, check, sampler_for
from mdmkit_tasks.rereading import Rereading
from mdmkit_tasks.running import Judging, run_cell
from mdmkit_tasks.statistics import compare, summarize

if TYPE_CHECKING:
    from mdmkit import Backbone, Sampler, UnitEngine


@dataclass(frozen=True)
class Settings:
    """The settings that all cells share.

    Attributes:
        model: as `mdmkit.load` takes it, with its `options` and dtype.
        seeds: the seeds of the decodes.
        overrides: `KEY=VALUE` for every sampler.
        batch: rows decoded together, or `auto`.
        engine: decodes the units; None: this process.
    """

    model: str
    options: Mapping[str, Any]
    dtype: str
    seeds: range
    overrides: Sequence[str]
    batch: int | str
    overwrite: bool
    engine: UnitEngine | None = None


Told = Callable[[str, str, list[dict[str, Any]]], None]


class Evaluation:
    """All cells. They are opened and checked before anything is decoded.

    Raises:
        MdmkitError: a sampler cannot be composed, a model does not fit a task, or the directory holds another run.
    """

    def __init__(
        self, folder: Path, asked: Sequence[Asked], samplers: Sequence[str], backbone: Backbone, settings: Settings
    ):
        self.folder, self.asked, self.backbone, self.settings = folder, asked, backbone, settings
        self.batch, auto = chosen_batch(settings.batch, backbone)
        self.samplers: dict[tuple[str, str], Sampler] = {}
        self.cells: dict[tuple[str, str], Cell] = {}
        for task in asked:
            composed = [sampler_for(task, name, settings.overrides) for name in samplers]
            check(task, backbone, settings.model, composed[0][1].plan)
            labels = [slug(label) for label, _ in composed]
            if len(set(labels)) < len(labels):
                raise MdmkitError(f"two samplers are called {max(labels, key=labels.count)!r}: rename a file.")
            for label, sampler in composed:
                rival = composed[0] if hasattr(task.task, "versus") and len(composed) > 1 else None
                path = folder / "rows" / slug(task.name) / f"{slug(label)}.jsonl"
                identity = self._identity(task, sampler, rival)
                self.samplers[task.name, label] = sampler
                known = Rereading(task, sampler, backbone).check
                self.cells[task.name, label] = Cell(
                    path, task.name, label, identity, known, settings.overwrite, self.batch, auto
                )

    @property
    def total(self) -> int:
        """The number of rows of all cells."""
        return sum(len(self._of(task, label)[1].items) for task, label in self.cells) * len(self.settings.seeds)

    @property
    def finished(self) -> int:
        """The number of rows that were judged before."""
        return sum(len(self._rows(task, label)) for task, label in self.cells)

    def run(self, told: Told, say: Callable[[str], None]) -> None:
        """Decode and judge the missing rows.

        Raises:
            MdmkitError: a row cannot be decoded or judged, or a judge is down. Finished rows are on disk.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json("--output", self.folder / "run.json", self.record())
        down: dict[str, str] = {}
        engine = self.settings.engine or as_engine("here")
        with opened(engine):
            for (task, label), cell in self.cells.items():
                first, asked = self._of(task, label)
                versus = hasattr(asked.task, "versus") and len({name for _, name in self.cells}) > 1
                judging = Judging(
                    asked, first if versus and cell is not first else None, versus and cell is first, down.get(task, "")
                )
                sampler, seeds = self.samplers[task, label], self.settings.seeds
                try:
                    run_cell(cell, judging, sampler, self.backbone, seeds, partial(told, task, label), say, engine)
                finally:
                    cell.close()
                down[task] = judging.down
        missing = sum(row["score"] is None for key in self.cells for row in self._rows(*key))
        if missing:
            why = " ".join(filter(None, down.values()))
            raise MdmkitError(
                f"{missing} answers could not be judged: {why} All answers are kept in {self.folder}: the same "
                "command judges the missing ones."
            )

    def finish(self, title: str) -> str:
        """Write tables and plots; return the Markdown page."""
        from mdmkit_tasks.plots import draw

        rows = {key: self._rows(*key) for key in self.cells}
        summaries = [summarize(task, label, self._measure(task), found) for (task, label), found in rows.items()]
        pairs = []
        for asked in self.asked:
            own = {label: found for (task, label), found in rows.items() if task == asked.name}
            pairs += compare(asked.name, own)
        facts = {
            "title": title,
            "model": self.settings.model,
            "prompts": {asked.name: len(asked.items) for asked in self.asked},
            "seeds": ", ".join(map(str, self.settings.seeds)),
            "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
            "pictures": draw(self.folder, summaries, rows),
        }
        return report.write(self.folder, facts, summaries, pairs)

    def record(self) -> dict[str, Any]:
        """The resolved settings and the versions: enough to repeat the evaluation."""
        return {
            "model": self.settings.model,
            "model-option": dict(self.settings.options),
            "device": str(self.backbone.device),
            "dtype": self.settings.dtype,
            "seeds": list(self.settings.seeds),
            "tasks": {a.name: {"of": a.origin, "options": a.options, "prompts": len(a.items)} for a in self.asked},
            "samplers": [
                {"task": task, "sampler": label, "batch": cell.batch, **self.samplers[task, label].config}
                for (task, label), cell in self.cells.items()
            ],
            "versions": versions(),
        }

    def _identity(self, asked: Asked, sampler: Sampler, rival: tuple[str, Sampler] | None) -> dict[str, Any]:
        digest = hashlib.sha256(json.dumps(asked.items, default=str).encode("utf-8", "surrogatepass")).hexdigest()
        places = asked.get("places")
        options = {key: value for key, value in asked.options.items() if key not in places}
        identity = {
            "mdmkit": mdmkit.__version__,
            "model": self.settings.model,
            "model-option": dict(self.settings.options),
            "device": self.backbone.device.type,
            "dtype": self.settings.dtype,
            "task": {"name": asked.name, "of": asked.origin, "options": options},
            "prompts": {"number": len(asked.items), "sha256": digest},
            "sampler": sampler.config,
            "contents": contents(self.backbone, [sampler.config, options], asked.prompts([0])),
        }
        return identity if rival is None else identity | {"rival": {"name": rival[0], "sampler": rival[1].config}}

    def _of(self, task: str, label: str) -> tuple[Cell, Asked]:
        """The first cell of the task, and the task."""
        first = next(cell for (name, _), cell in self.cells.items() if name == task)
        return first, next(asked for asked in self.asked if asked.name == task)

    def _rows(self, task: str, label: str) -> list[dict[str, Any]]:
        _, asked = self._of(task, label)
        return self.cells[task, label].of(self.settings.seeds, len(asked.items))

    def _measure(self, task: str) -> str:
        return str(next(asked for asked in self.asked if asked.name == task).get("measure"))


def slug(name: str) -> str:
    """A name in a form that is allowed for files."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("._") or "_"


def versions() -> dict[str, str]:
    """The versions of Python, of every distribution that brings parts, and of the libraries that they compute with."""
    brought = {part.distribution: part.version for part in default_registry().parts}
    found = {"python": platform.python_version(), "mdmkit": mdmkit.__version__} | brought
    for name in ("torch", "transformers"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
