"""Decode and judge the missing rows of a cell, batch by batch. Each batch is on disk before the next begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdmkit import JudgeDown, MdmkitError, RowError
from mdmkit.cli.commands import Peak, check_prompts, decode_batches, is_number, is_remote, read_verdict
from mdmkit_tasks.public.data import brief

if TYPE_CHECKING:
    from mdmkit import Backbone, Row, Sampler, UnitEngine
    from mdmkit_tasks.cell import Cell
    from mdmkit_tasks.request import Asked


@dataclass
class Judging:
    """Judge the rows of one cell. If the judge is down, it is not asked again in this run.

    Args:
        rival: the cell with whose answers these are compared, if the task compares two.
        baseline: True if others are compared with this cell; its own verdicts are ties.
    """

    asked: Asked
    rival: Cell | None = None
    baseline: bool = False
    down: str = ""

    def verdict(self, seed: int, index: int, answer: Any) -> dict[str, float] | None:
        """The verdict; None if the judge is down.

        Raises:
            MdmkitError: the judge failed. The error names the task and the prompt.
        """
        if self.baseline:
            return {"score": 0.5}
        if self.down:
            return None
        prompt = self.asked.items[index]
        try:
            if self.rival is None:
                return _finite(self.asked.task.judge(prompt, answer))
            return _finite(self.asked.task.versus(prompt, answer, self.rival.rows[seed, index]["text"]))
        except JudgeDown as error:
            self.down = str(error)
            return None
        except MdmkitError as error:
            raise MdmkitError(f"{self._where(seed, index)}: {error}") from error
        except (Exception, SystemExit) as error:
            raise MdmkitError(
                f"{self._where(seed, index)}: the judge raised {type(error).__name__}: {str(error)[:300]}. Task "
                f"{self.asked.name!r} is of {self.asked.origin}: report it there, with the answer {brief(answer)}."
            ) from error

    def _where(self, seed: int, index: int) -> str:
        return f"task {self.asked.name!r}, prompt {index}, seed {seed}"


def _finite(said: Any) -> dict[str, float]:
    verdict = read_verdict(said)
    if all(map(is_number, verdict.values())):
        return verdict
    raise MdmkitError(f"a judge's numbers are finite, and this one said {said!r}. Their size is at most 1e100.")


def run_cell(
    cell: Cell,
    judging: Judging,
    sampler: Sampler,
    backbone: Backbone,
    seeds: Sequence[int],
    told: Callable[[list[dict[str, Any]]], None],
    say: Callable[[str], None],
    engine: UnitEngine,
) -> None:
    """Decode and judge every row that the cell lacks; `told` is called with each batch's rows.

    Raises:
        MdmkitError: a prompt cannot be decoded or judged. The rows before it are on disk.
    """
    asked, count = judging.asked, len(judging.asked.items)
    if late := cell.unjudged():
        _judge_late(cell, judging, late)
    prompts = asked.prompts(seeds)
    done = {i for i in range(len(prompts)) if (seeds[i // count], i % count) in cell.rows}
    if len(done) == len(prompts):
        return
    where = {i: f"task {asked.name!r}, prompt {i % count}, seed {seeds[i // count]}" for i in range(len(prompts))}
    # A prompt has the same length with every seed, so only the first seed's rows are checked, and their encodings used.
    encodings = check_prompts(backbone, prompts[:count], sampler.plan, where)
    lengths = [encodings.size(prompt).length for prompt in prompts[:count]]
    batches = decode_batches(
        sampler,
        backbone,
        prompts,
        batch=cell.batch,
        done=done,
        tell=say,
        length=lambda p: lengths[p.index % count],
        encodings=encodings,
        slots=cell.slots,
        auto=cell.auto,
        engine=engine,
    )
    peak = Peak(backbone.device)
    while True:
        peak.reset()
        began = time.perf_counter()
        try:
            decoded = next(batches, None)
        except RowError as error:
            raise MdmkitError(f"{where.get(error.prompt or 0)}, sampler {cell.sampler!r}: {error}") from error
        if decoded is None:
            return
        rows, calls = decoded
        if not rows:  # every row of the unit has an error, which comes next
            continue
        memory = None if is_remote(engine) else peak.read()  # that of other processes is not known here
        shares = {"calls": calls / len(rows), "seconds": (time.perf_counter() - began) / len(rows)}
        lines = [
            _line(row, seeds[row.index // count], row.index % count, shares | {"memory": memory})
            for row in sorted(rows, key=lambda row: row.index)  # rows come in the order in which they finish
        ]
        try:
            judged = [line | _told(judging.verdict(line["seed"], line["index"], line["text"])) for line in lines]
        except MdmkitError:
            cell.add(lines)  # the same command judges them when the judge is mended
            raise
        cell.add(judged)
        told(judged)


def _line(row: Row, seed: int, index: int, costs: Mapping[str, float | None]) -> dict[str, Any]:
    """A row in its written form: the row of `mdmkit decode`, and its cost; not judged yet."""
    return row.json() | {"index": index, "seed": seed, "row_seed": row.seed, **costs} | _told(None)


def _told(verdict: dict[str, float] | None) -> dict[str, Any]:
    if verdict is None:
        return {"score": None, "measures": {}}
    return {"score": verdict["score"], "measures": {k: v for k, v in verdict.items() if k != "score"}}


def _judge_late(cell: Cell, judging: Judging, late: list[dict[str, Any]]) -> None:
    for row in late:
        verdict = judging.verdict(row["seed"], row["index"], row["text"])
        if verdict is None:
            return
        cell.add([row | _told(verdict)])
