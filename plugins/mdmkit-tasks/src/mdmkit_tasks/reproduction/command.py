"""`mdmkit reproduce`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdmkit import MdmkitError, unknown
from mdmkit.cli.commands import Target, computing, plugin_option
from mdmkit_tasks.reproduction.running import Request

if TYPE_CHECKING:
    from mdmkit_tasks.reproduction.experiment import Group, Table

# 8 billion parameters, 2 operations each, about 700 tokens per row, at 400 Tflop/s.
FORWARD_MS = 30.0
INCOMPLETE = 3


@click.command("reproduce")
@click.argument("paper")
@click.option("--table", required=True, help="One of its tables: reasoning, writing or images for info_gain.")
@click.option("--dry-run", is_flag=True, help="Print every cell, its cost, and whether it can be run here.")
@click.option(
    "--forward-ms", type=click.FloatRange(min=0, min_open=True), default=FORWARD_MS, show_default=True,
    help="Milliseconds of one row-forward, to compute the hours.",
)  # fmt: skip
@click.option("--tasks", metavar="T,U,…", help="Only these of the table's tasks.")
@click.option("--model", "models", multiple=True, metavar="NAME=PATH",
              help="A directory or another model, instead of one of the table's; may be repeated.")  # fmt: skip
@click.option("--data", multiple=True, metavar="TASK=FILE", help="A task's data as JSON lines; may be repeated.")
@click.option("--task-option", "task_options", multiple=True, metavar="[TASK.]KEY=VALUE",
              help="An option of the tasks, or of one, such as judge_url=…; may be repeated.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="The most prompts per task.  [default: the table's]")
@click.option("--seeds", type=click.IntRange(min=1), help="Decodes per prompt.  [default: the table's]")
@click.option("--output", type=Target(directory=True),
              help="Directory for rows and tables.  [default: results/ and the names]")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Start again if the directory holds rows.")
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True, help="Rows decoded together.")
@computing
@plugin_option
def reproduce(
    paper: str,
    table: str,
    dry_run: bool,
    forward_ms: float,
    tasks: str | None,
    models: tuple[str, ...],
    data: tuple[str, ...],
    task_options: tuple[str, ...],
    limit: int | None,
    seeds: int | None,
    output: Path | None,
    overwrite: bool,
    batch: int,
    device: str,
    dtype: str,
) -> None:
    """Run a paper's experiments, or print their cost.

    The same command continues an interrupted run. Exit code 3: a part of the table was not run; the end of the page
    says which part, and why.
    """
    from mdmkit_tasks.arguments import named
    from mdmkit_tasks.arguments import task_options as read_options
    from mdmkit_tasks.cli import show_page
    from mdmkit_tasks.reproduction.experiment import read_table
    from mdmkit_tasks.reproduction.machine import obstacle
    from mdmkit_tasks.reproduction.page import plan_page

    asked = read_table(paper, table, limit, seeds)
    groups = _of(asked.groups, tasks)
    known = list(dict.fromkeys(group.task for group in groups))
    there = named(models, "--model", "NAME=PATH", list(asked.about["models"]))
    _check_models(there)
    files = {task: Path(file) for task, file in named(data, "--data", "TASK=FILE", known).items()}
    if absent := next((file for file in files.values() if not file.is_file()), None):
        raise MdmkitError(f"--data {absent}: no such file. It is a file of JSON lines.")
    given = read_options(task_options, known)
    why = {group: obstacle(group, there, files, given[group.task], dtype) for group in groups}
    if dry_run:
        show_page(plan_page(asked, groups, why, forward_ms))
        return
    folder = output or Path("results", f"reproduce-{paper}-{table}")
    request = Request(folder, there, files, given, batch, device, dtype, overwrite)
    _run(asked, groups, why, request)


def _of(groups: Sequence[Group], tasks: str | None) -> list[Group]:
    from mdmkit.cli.commands import names

    if tasks is None:
        return list(groups)
    known, asked = {group.task for group in groups}, names(tasks, "--tasks")
    if strange := next((name for name in asked if name not in known), None):
        raise MdmkitError(f"--tasks: {unknown('task', strange, known, known_as='In this table')}")
    return [group for group in groups if group.task in asked]


def _check_models(models: Mapping[str, str]) -> None:
    for name, ref in models.items():
        if ":" not in ref and ref.count("/") != 1 and not Path(ref).expanduser().is_dir():
            raise MdmkitError(f"--model {name}={ref}: no such directory. Give a directory, a hub id, or BACKBONE:NAME.")


def _run(asked: Table, groups: Sequence[Group], why: dict[Group, str], request: Request) -> None:
    from mdmkit_tasks.cli import check_folder, show_page
    from mdmkit_tasks.report import put
    from mdmkit_tasks.reproduction.page import results_page
    from mdmkit_tasks.reproduction.running import run_groups

    check_folder(request.folder)
    measured = run_groups(groups, request, why)
    page = results_page(asked, groups, measured, why)
    if measured:
        put(request.folder / "reproduction.md", page)
    show_page(page)
    if measured:
        click.echo(f"This page is {request.folder / 'reproduction.md'}; rows and plots are beside it.")
    if len(measured) < len(groups):
        raise SystemExit(INCOMPLETE)
