"""`mdmkit decode`: prompts in, filled rows out."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdmkit.cli.filing import Filing, TracePictures
from mdmkit.cli.options import chat_option, composing, names_sampler, pairs
from mdmkit.cli.output import DocumentFile, can_resume, check_targets, is_stdout
from mdmkit.cli.requests import check_prompts, gather
from mdmkit.cli.results import Results, open_rows
from mdmkit.cli.resuming import Kept, Slots, check_resume, identity, rows_of, write_record
from mdmkit.cli.run import limit_threads, run
from mdmkit.errors import MdmkitError
from mdmkit.installed import registry

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row
    from mdmkit.cli.output import RowFile
    from mdmkit.model.backbone import Backbone
    from mdmkit.watch.recording import Recording

DEFAULT_MODEL = "zoo:puzzles"
DEFAULT_SAMPLER = "info_gain"
DEFAULT_BATCH = 16


@click.command()
@click.option(
    "--sampler", "preset", help=f"Preset to decode with (default: the --config file's, else {DEFAULT_SAMPLER})."
)
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="zoo:NAME, a directory, a hub id, or BACKBONE:any of these.",
)
@click.option(
    "--model-option",
    "model_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Passed to the backbone, e.g. mask_id=5.",
)
@click.option("--prompt", "texts", multiple=True, help="A prompt; repeat for more.")
@click.option("--prompt-ids", "ids", multiple=True, help="A prompt as token ids, e.g. '5 7 9'; repeat for more.")
@click.option(
    "--prompts",
    "file",
    type=click.Path(path_type=Path),
    help="JSON lines: texts, id lists, or objects with per-row options.",
)
@click.option(
    "--chat/--no-chat",
    default=None,
    help="Put texts into the model's chat template (default: where it has one, but for base models and infills).",
)
@click.option("--system", metavar="TEXT", help="System message before every text; implies --chat.")
@chat_option
@click.option("--suffix", metavar="TEXT", help="Text after the appended masks: fill in the middle.")
@click.option("--image", metavar="FILE", help="An image to redraw, for every prompt (image models).")
@click.option("--mask", metavar="FILE", help="White where --image is to be redrawn; without it, all over.")
@click.option("--strength", type=float, help="Share of the cells that are redrawn, above 0 to 1.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write one JSON row per line to this file, as rows finish."
)
@click.option(
    "--resume", is_flag=True, help="Go on with an --output that an earlier run of this command left unfinished."
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    help="Write each row's steps to this JSON file; `mdmkit trace` shows it.",
)
@click.option("--grid", is_flag=True, help="Put all images on one sheet, which --output names (image models).")
@click.option("--overwrite", is_flag=True, help="Replace --output and --trace files that exist.")
@click.option(
    "--seed", type=int, help="Seed of the run; every row draws its own from it (default: the config's, else 0)."
)
@click.option(
    "--batch", type=click.IntRange(min=1), default=DEFAULT_BATCH, show_default=True, help="Rows decoded together."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute.",
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Precision of the model.",
)
@click.option("--live/--no-live", default=None, help="Show the canvas filling (default: on a terminal).")
@click.option("--observer", "watchers", multiple=True, metavar="NAME", help="An installed observer to run along.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@composing
def decode(
    preset: str | None,
    config: Path | None,
    overrides: tuple[str, ...],
    model: str,
    model_options: tuple[str, ...],
    texts: tuple[str, ...],
    ids: tuple[str, ...],
    file: Path | None,
    chat: bool | None,
    system: str | None,
    chat_options: dict[str, Any],
    suffix: str | None,
    image: str | None,
    mask: str | None,
    strength: float | None,
    output: Path | None,
    resume: bool,
    trace: Path | None,
    grid: bool,
    overwrite: bool,
    seed: int | None,
    batch: int,
    device: str,
    dtype: str,
    live: bool | None,
    watchers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fill the masks of prompts with a masked diffusion model.

    Without --prompt, --prompt-ids or --prompts, the model's own sample prompts are decoded.
    """
    if resume:
        check_resume(output, trace, overwrite)
    check_targets(
        {"--output": output, "--trace": trace},
        {"--prompts": file, "--config": config},
        overwrite,
        "--output" if resume else None,
    )
    from mdmkit.config.compose import compose
    from mdmkit.decoding.prompts import with_defaults
    from mdmkit.model.loading import load

    if preset is None and not names_sampler(config):
        preset = DEFAULT_SAMPLER
    if seed is not None:
        overrides = (*overrides, f"seed={seed}")
    sampler = compose(preset, config=config, overrides=overrides)
    prompts, lines = gather(texts, ids, file, sampler.seed)
    inputs = {"image": image, "mask": mask, "strength": strength}
    inputs = {key: value for key, value in inputs.items() if value is not None}
    defaults = partial(with_defaults, chat=chat, system=system, suffix=suffix, chat_options=chat_options, inputs=inputs)
    prompts = defaults(prompts)
    given = pairs(model_options)
    backbone = load(model, device=device, dtype=dtype, **given)
    limit_threads(backbone)
    if not prompts:
        prompts = defaults(_samples(backbone, model, sampler.seed))
    encodings = check_prompts(backbone, prompts, sampler.plan, lines)
    filing = pictures = None
    if backbone.files is not None:
        filing = Filing(backbone.files, output, grid, len(prompts), resume, overwrite)
        output = filing.rows
        if trace is not None and trace.suffix == backbone.files.suffix:
            pictures, trace = TracePictures(backbone.files, trace, overwrite), None
    elif grid:
        raise MdmkitError(f"--grid is for models that draw images, and the rows of {model} are texts. Leave it out.")
    found = registry.default()
    listening = [found.load(found.find("observer", name))() for name in watchers]
    if any(getattr(observer, "terminal", False) for observer in listening):
        live = bool(live)
    recording = None
    if trace is not None:
        from mdmkit.watch.recording import Recording

        recording = Recording()
        listening.append(recording)

    document = {"mdmkit": _version(), "model": model, "sampler": sampler.config}
    settings = {"model-option": given, "device": backbone.device.type, "dtype": dtype}
    run_of = identity(document, prompts, **settings)
    kept, rows_file = open_rows(output, run_of, resume, overwrite, len(prompts))
    results = Results(
        file=rows_file,
        trace=DocumentFile("--trace", trace, document) if trace is not None else None,
        traced=lambda row: _traced(row, backbone, recording),
        collect=as_json or output is None,
        kept=kept,
        told=partial(_told, filing=filing, pictures=pictures),
        held=lambda rows: _hold(rows_file, run_of, kept, rows),
    )
    if as_json and output is not None:
        results.rows += rows_of(output, kept.rows) if kept.rows else ()
    slots = Slots(kept.slots, lambda now: _note(rows_file, run_of, kept, now))
    calls, seconds = run(
        sampler, backbone, prompts, encodings, lines, batch, results, kept.done, live, listening, slots
    )

    for part in (filing, pictures):
        if part is not None:
            part.finish()
    if output is not None and kept.waiting:  # they are in the output now
        write_record(output, run_of, [], slots)
    if as_json:
        nfe = {"rows": sum(row["nfe"] for row in results.rows), "calls": calls}
        click.echo(json.dumps(document | {"rows": results.rows, "nfe": nfe, "seconds": seconds}, ensure_ascii=False))
    else:
        _show(results, calls, seconds)


def _note(file: RowFile | None, run: dict[str, Any], kept: Kept, slots: dict[int, int]) -> None:
    """Record that units have fewer slots, so that a run that is resumed decodes them as this one did.

    Before the file has begun it is only kept in mind: the record is written, with it, when the first rows are.
    """
    kept.slots.update(slots)
    if file is not None and file.begun and can_resume(file.path):
        write_record(file.path, run, kept.waiting.values(), slots)


def _hold(file: RowFile | None, run: dict[str, Any], kept: Kept, rows: list[dict[str, Any]]) -> None:
    """Record the rows that wait for earlier ones: after a kill no more than the unit at work is decoded again."""
    if file is not None and file.begun and can_resume(file.path):
        kept.waiting.clear()
        kept.waiting.update({row["index"]: row for row in rows})
        write_record(file.path, run, rows, kept.slots)


def _told(row: Row, filing: Filing | None, pictures: TracePictures | None) -> dict[str, Any]:
    if pictures is not None:
        pictures.keep(row)
    return row.json() if filing is None else filing.told(row)


def _samples(backbone: Backbone, model: str, seed: int) -> list[Prompt]:
    from mdmkit.decoding.prompts import read_prompts

    if not backbone.samples:
        raise MdmkitError(
            f"no prompt, and model {model} has no samples: give --prompt TEXT, --prompt-ids or --prompts FILE."
        )
    click.echo(f"No prompt given: decoding the {len(backbone.samples)} sample prompts of {model}.", err=True)
    return read_prompts(backbone.samples, seed)


def _traced(row: Row, backbone: Backbone, recording: Recording | None) -> dict[str, Any]:
    pieces = [backbone.render(token) for token in row.trace["tokens"]]
    steps = recording.take(row.index) if recording is not None else {}
    return {"index": row.index, "seed": row.seed, **row.trace, "pieces": pieces, **steps}


def _show(results: Results, calls: int, seconds: float) -> None:
    from rich.console import Console
    from rich.text import Text

    # Rows that are written to standard output stand there alone.
    console = Console(highlight=False, soft_wrap=True, stderr=results.file is not None and is_stdout(results.file.path))
    for row in results.rows:
        asked = row["prompt"] if row["prompt"] is not None else " ".join(map(str, row["prompt_ids"]))
        console.print(Text(asked, style="dim"))
        console.print(Text(str(row.get("file") or row["text"]), style="bold"))
        console.print(Text(f"H̃ {row['uncertainty']:.3f} nats · NFE {row['nfe']}\n", style="dim"))
    before = f" {results.finished - results.new} rows were there before." if results.finished > results.new else ""
    where = f" All are in {results.file.path}." if results.file is not None else ""
    rate = results.tokens / max(seconds, 1e-9)
    console.print(
        f"{results.new} rows, {results.tokens} tokens in {seconds:.2f} s ({rate:.0f} tokens/s); "
        f"NFE {results.nfe} rows in {calls} calls{'.' if before or where else ''}{before}{where}"
    )


def _version() -> str:
    from mdmkit import version

    return version.__version__
