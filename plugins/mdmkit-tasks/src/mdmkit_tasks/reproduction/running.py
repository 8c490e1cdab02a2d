"""Run the groups of a table that can be run, one model at a time. If one fails, the others still run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError
from mdmkit_tasks.reproduction.experiment import Group

if TYPE_CHECKING:
    from mdmkit import Backbone


@dataclass(frozen=True)
class Request:
    """The settings of the command line, in addition to the table."""

    folder: Path
    models: Mapping[str, str]
    data: Mapping[str, Path]
    task_options: Mapping[str, Mapping[str, Any]]
    batch: int
    device: str
    dtype: str
    overwrite: bool


def run_groups(
    groups: Sequence[Group], request: Request, why: dict[Group, str]
) -> dict[Group, dict[str, dict[str, Any]]]:
    """Decode and judge; return each finished group's summaries by sampler, and write into `why` what went wrong."""
    from mdmkit import load
    from mdmkit.cli.commands import limit_threads

    measured = {}
    for model in dict.fromkeys(group.model for group in groups if not why[group]):
        own = [group for group in groups if group.model == model and not why[group]]
        ref = request.models.get(model, model)
        # A directory or hub id is the published model, or one like it. Another backbone has its own options.
        options = {} if ":" in ref else dict(own[0].options)
        try:
            backbone = load(ref, device=request.device, dtype=request.dtype, **options)
        except MdmkitError as error:
            why.update(dict.fromkeys(own, str(error)))
            continue
        limit_threads(backbone)
        for group in own:
            try:
                measured[group] = _run(group, request, ref, options, backbone)
            except MdmkitError as error:
                why[group] = str(error)
        del backbone
    return measured


def _run(
    group: Group, request: Request, ref: str, options: Mapping[str, Any], backbone: Backbone
) -> dict[str, dict[str, Any]]:
    from mdmkit_tasks.cli import watched
    from mdmkit_tasks.evaluation import Evaluation, Settings, slug
    from mdmkit_tasks.request import ask

    folder = request.folder / slug(group.model) / slug(group.task) / group.name
    given, count = dict(request.task_options[group.task]), group.prompts
    if group.task in request.data:
        given["data"] = str(request.data[group.task])
        count = min(count, _lines(request.data[group.task]))
    asked = ask(group.task, given, max(1, count), 0)
    settings = Settings(
        ref, options, request.dtype, range(group.seeds), group.overrides, request.batch, request.overwrite
    )
    evaluation = Evaluation(folder, [asked], group.samplers, backbone, settings)
    watched(evaluation)
    evaluation.finish(f"{group.task}, {group.name}")
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return {cell["sampler"]: cell for cell in map(json.loads, lines)}


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(bool(line.strip()) for line in file)
