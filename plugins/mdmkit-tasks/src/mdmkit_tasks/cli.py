"""`mdmkit eval`, `mdmkit compare` and `mdmkit lm-eval`."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdmkit import MdmkitError
from mdmkit.cli.commands import (
    DEFAULT_MODEL,
    DEFAULT_SAMPLER,
    Target,
    batch_option,
    engine_option,
    held,
    loading,
    names,
    plugin_option,
    say,
    styled,
    visible,
)

if TYPE_CHECKING:
    from mdmkit_tasks.evaluation import Evaluation

# Seeds are written into rows, whose whole numbers have 64 bits; further seeds follow the first one.
LARGEST_SEED = (1 << 62) - 1


Command = Callable[..., Any]


def _shared(command: Command) -> Command:
    """Add the options of both commands."""
    for option in reversed(
        (
            loading(DEFAULT_MODEL),
            click.option("--limit", type=click.IntRange(min=1), help="Prompts per task.  [default: the task's]"),
            click.option(
                "--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Decodes per prompt."
            ),
            click.option(
                "--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True, help="First of the seeds."
            ),
            click.option(
                "--prompt-seed", type=int, default=0, show_default=True, help="Seed that draws the prompts."
            ),
            click.option(
                "--task-option", "task_options", multiple=True, metavar="[TASK.]KEY=VALUE",
                help="An option of the tasks, or of one; may be repeated.",
            ),
            click.option(
                "--data", type=click.Path(path_type=Path), help="The task's data as JSON lines, instead of the hub's."
            ),
            click.option(
                "--set", "overrides", multiple=True, metavar="KEY=VALUE",
                help="Change one key of every sampler, such as plan.tokens_per_step=2; may be repeated.",
            ),
            click.option(
                "--output", type=Target(directory=True),
                help="Directory for rows, tables and plots.  [default: results/ and the names]",
            ),
            click.option("--overwrite", is_flag=True, help="Start again if the directory holds rows."),
            batch_option(64),
            engine_option,
            plugin_option,
        )
    ):  # fmt: skip
        command = option(command)
    return command


@click.command("eval")
@click.option("--sampler", default=DEFAULT_SAMPLER, show_default=True, help="A preset, or a YAML file.")
@click.option("--task", required=True, help="A registered task; `mdmkit plugins` lists them.")
@_shared
def evaluate(sampler: str, task: str, **options: Any) -> None:
    """Judge a sampler on a task, with standard errors.

    The same command goes on with rows that an interrupted run has left.
    """
    _run("eval", [sampler], [task], **options)


@click.command("compare")
@click.option("--samplers", required=True, metavar="A,B,…", help="Presets, or YAML files.")
@click.option("--tasks", required=True, metavar="T,U,…", help="Registered tasks; `mdmkit plugins` lists them.")
@_shared
def compare(samplers: str, tasks: str, **options: Any) -> None:
    """Judge samplers on the same prompts, with paired tests between them.

    The same command continues with the rows of an interrupted run, and a sampler or task may be added.
    """
    _run("compare", names(samplers, "--samplers"), names(tasks, "--tasks"), **options)


@click.command("lm-eval", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def harness(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run lm-evaluation-harness with its own arguments, and with the model `mdmkit`.

    The harness is an extra: pip install 'mdmkit-tasks[harness]'. If it is installed, --help shows its own arguments.
    """
    try:
        from lm_eval.__main__ import cli_evaluate

        import mdmkit_tasks.harness  # noqa: F401 (registers the model)
    except ImportError as error:
        if {"-h", "--help"} & set(arguments):
            click.echo(ctx.get_help())
            return
        raise MdmkitError(
            f"this runs lm-evaluation-harness, which is not installed ({error}): pip install 'mdmkit-tasks[harness]'."
        ) from error
    from mdmkit_tasks.harness_device import with_device

    before, sys.argv = sys.argv, ["lm-eval", *with_device(arguments)]
    try:
        cli_evaluate()
    finally:
        sys.argv = before


def _run(
    command: str,
    samplers: list[str],
    tasks: list[str],
    model: str,
    model_options: dict[str, Any],
    limit: int | None,
    seeds: int,
    seed: int,
    prompt_seed: int,
    task_options: tuple[str, ...],
    data: Path | None,
    overrides: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    batch: int | str,
    device: str,
    dtype: str,
    engine: dict[str, Any],
) -> None:
    from mdmkit import load
    from mdmkit.cli.commands import as_engine, limit_threads
    from mdmkit_tasks.arguments import task_options as read_options
    from mdmkit_tasks.evaluation import Evaluation, Settings, slug
    from mdmkit_tasks.request import ask

    runs = as_engine(engine)
    folder = output or Path("results", slug("-".join([command, model, *tasks])))
    check_folder(folder)
    if any(override.partition("=")[0].strip() == "seed" for override in overrides):
        raise MdmkitError("--set seed=…: the seeds are set by --seed and --seeds. Use those.")
    given = read_options(task_options, tasks)
    if data is not None:
        if len(tasks) > 1:
            raise MdmkitError("--data is for a single task. With several tasks, give --task-option TASK.data=FILE.")
        given[tasks[0]]["data"] = str(data)
    click.get_current_context().with_resource(kept(folder))
    asked = [ask(name, given[name], limit, prompt_seed) for name in tasks]
    backbone = load(model, device=device, dtype=dtype, **model_options)
    limit_threads(backbone)
    settings = Settings(model, model_options, dtype, range(seed, seed + seeds), overrides, batch, overwrite, runs)
    evaluation = Evaluation(folder, asked, samplers, backbone, settings)
    watched(evaluation)
    _show(evaluation.finish(f"mdmkit {command}"), folder)


# So many files of a directory are looked at.
LOOKED_AT = 10_000


def check_folder(folder: Path) -> None:
    """Refuse a directory that cannot be written, or that holds a pipe, which would be waited for.

    Raises:
        MdmkitError: it names the directory, and the pipe.
    """
    from os import W_OK, access

    if folder.exists() and not folder.is_dir():
        raise MdmkitError(f"--output {folder}: that is a file. Name a directory.")
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not access(there, W_OK):
        raise MdmkitError(f"--output {folder}: it cannot be written ({there}). Name another place.")
    for path in itertools.islice(folder.rglob("*"), LOOKED_AT):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise MdmkitError(
                f"--output {folder}: it holds {path}, which is a pipe, a socket or a device, and the files of a run "
                "are regular ones. Remove it, or name another directory."
            )


@contextlib.contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Make the folder, and hold its lock. A folder that nothing was written to is removed at the end.

    Raises:
        MdmkitError: another run is writing to it, or it cannot be made.
    """
    made = [path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MdmkitError(f"--output {folder}: {error.strerror or error}. Name another place.") from error
    try:
        with held("--output", folder / "run.json", folder):
            yield
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # it holds something
                path.rmdir()


def watched(evaluation: Evaluation) -> None:
    """Run with a progress bar on the terminal; without a terminal, print a line per cell."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if evaluation.finished:
        console.print(f"{evaluation.finished} of {evaluation.total} rows were there before.")
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        line = bar.add_task("", total=evaluation.total, completed=evaluation.finished)
        begun: set[tuple[str, str]] = set()

        def told(task: str, sampler: str, rows: list[dict[str, Any]]) -> None:
            bar.update(line, advance=len(rows), description=escape(visible(f"{task} · {sampler}")))
            if not console.is_terminal and (task, sampler) not in begun:
                begun.add((task, sampler))
                say(f"{task} · {sampler}: {evaluation.finished} of {evaluation.total} rows of all", err=True)

        try:
            evaluation.run(told, lambda said: console.print(styled(said)))
        except KeyboardInterrupt:
            say(
                f"Stopped: {evaluation.finished} of {evaluation.total} rows are judged and in {evaluation.folder}. "
                "The same command continues from there.",
                err=True,
            )
            raise SystemExit(130) from None


def _show(page: str, folder: Path) -> None:
    show_page(page.split("\n![", 1)[0])
    say(f"Table, plots and rows are in {folder}.")


def show_page(page: str) -> None:
    """Print Markdown; on a terminal it is formatted."""
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(Markdown(visible(page)))
    else:
        say(page)
