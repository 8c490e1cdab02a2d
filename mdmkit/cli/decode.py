"""`mdmkit decode`: prompts in, filled rows out."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdmkit.cli.contents import contents
from mdmkit.cli.filing import Places, settle
from mdmkit.cli.inputs import given_inputs
from mdmkit.cli.locking import held
from mdmkit.cli.matching import Expected, stop_rule
from mdmkit.cli.options import batch_option, chat_option, composing, engine_option, loading, names_sampler
from mdmkit.cli.output import check_targets, record_of
from mdmkit.cli.record import Record, open_record
from mdmkit.cli.requests import check_own, check_prompts, gather
from mdmkit.cli.results import Results, Traces
from mdmkit.cli.resuming import check_resume, identity, record_to_resume
from mdmkit.cli.run import limit_threads, run
from mdmkit.cli.saying import say
from mdmkit.cli.sharding import check_joinable, check_shard, say_share, shard_option
from mdmkit.cli.showing import show
from mdmkit.cli.target import Target
from mdmkit.config.resolution import DEFAULT_MODEL, DEFAULT_SAMPLER
from mdmkit.decoding.batch import chosen_batch
from mdmkit.errors import MdmkitError
from mdmkit.installed import registry
from mdmkit.terminal import to_json
from mdmkit.version import __version__

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row
    from mdmkit.decoding.engine import UnitEngine
    from mdmkit.decoding.shards import Shard
    from mdmkit.loop.observe import Observer
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone

DEFAULT_BATCH = 16


@click.command()
@click.option(
    "--sampler", "preset", help=f"Preset to decode with (default: the --config file's, else {DEFAULT_SAMPLER})."
)
@loading(DEFAULT_MODEL)
@click.option("--prompt", "texts", multiple=True, help="A prompt; repeat for more.")
@click.option("--prompt-ids", "ids", multiple=True, help="A prompt as token ids, e.g. '5 7 9'; repeat for more.")
@click.option(
    "--prompts",
    "file",
    type=click.Path(path_type=Path),
    help="Prompts as JSON lines, a JSON array, or one text a line (.txt); - is standard input.",
)
@click.option("--prompt-key", metavar="KEY", help="The key that holds the prompt, in the objects of --prompts.")
@click.option(
    "--chat/--no-chat",
    default=None,
    help="Put texts into the model's chat template (default: if it has one, but not for base models and infills).",
)
@click.option(
    "--infill/--no-infill",
    default=None,
    help="Fill the masks that prompts hold, or take them as text (default: fill them, but not in a chat template).",
)
@click.option("--system", metavar="TEXT", help="System message before every text; implies --chat.")
@chat_option
@click.option("--suffix", metavar="TEXT", help="Text after the appended masks: fill in the middle.")
@click.option("--image", metavar="FILE", help="An image to redraw, for every prompt; - is standard input.")
@click.option(
    "--mask",
    metavar="FILE",
    help="White where --image is to be redrawn; without it, a share of all cells is: see --strength.",
)
@click.option(
    "--strength",
    type=float,
    help="Share of the cells that are redrawn, above 0 to 1 (default: 1 under a --mask, 0.6 without one).",
)
@click.option("--output", type=Target(streams=True), help="Write one JSON row per line to this file, as rows finish.")
@click.option(
    "--resume", is_flag=True, help="Continue an --output that an earlier run of this command left unfinished."
)
@shard_option
@click.option(
    "--trace",
    type=Target(streams=True),
    help="Write each row's steps to this JSON file; `mdmkit trace` shows it.",
)
@click.option("--grid", is_flag=True, help="Put all images on one sheet, the file of --output (image models).")
@click.option("--overwrite", is_flag=True, help="Replace --output and --trace files that exist.")
@click.option(
    "--seed", type=int, help="Seed of the run; the seed of each row follows from it (default: the config's, else 0)."
)
@batch_option(DEFAULT_BATCH)
@engine_option
@click.option("--live/--no-live", default=None, help="Show the canvas filling (default: on a terminal).")
@click.option("--observer", "watchers", multiple=True, metavar="NAME", help="An installed observer; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@composing
def decode(
    preset: str | None,
    config: Path | None,
    overrides: tuple[str, ...],
    model: str,
    model_options: dict[str, Any],
    texts: tuple[str, ...],
    ids: tuple[str, ...],
    file: Path | None,
    prompt_key: str | None,
    chat: bool | None,
    infill: bool | None,
    system: str | None,
    chat_options: dict[str, Any],
    suffix: str | None,
    image: str | None,
    mask: str | None,
    strength: float | None,
    output: Path | None,
    resume: bool,
    shard: Shard | None,
    trace: Path | None,
    grid: bool,
    overwrite: bool,
    seed: int | None,
    batch: int | str,
    device: str,
    dtype: str,
    engine: dict[str, Any],
    live: bool | None,
    watchers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fill the masks of prompts with a masked diffusion model.

    Without --prompt, --prompt-ids or --prompts, prompts are read from a pipe. If there is none, the model's own sample
    prompts are decoded.
    """
    if shard is not None:
        check_shard(shard, output, batch)
    _check_files(output, trace, file, config, resume, overwrite)
    from mdmkit.decoding.engine import as_engine
    from mdmkit.decoding.prompts import with_defaults
    from mdmkit.model.loading import load

    runs = as_engine(engine)
    sampler = _sampler(preset, config, overrides, seed)
    inputs = given_inputs(image, mask, strength, file)
    defaults = partial(
        with_defaults,
        chat=chat,
        infill=infill,
        system=system,
        suffix=suffix,
        chat_options=chat_options,
        inputs=inputs,
    )
    asked = gather(texts, ids, file, sampler.seed, prompt_key)
    prompts, lines = defaults(asked.prompts), asked.lines
    backbone = load(model, device=device, dtype=dtype, **model_options)
    limit_threads(backbone)
    if shard is not None:
        check_joinable(shard, backbone.files, model)
    check_own(asked, backbone.inputs)
    prompts = prompts or defaults(_samples(backbone, model, sampler.seed))
    mine = _share(shard, len(prompts), batch)
    encodings = check_prompts(backbone, prompts, sampler.plan, lines, mine)
    places = settle(backbone.files, model, output, trace, grid, len(prompts), resume, overwrite)
    _hold_others(places, output)
    _check_watching(runs, watchers, places.trace, live)
    listening, live = _observers(watchers, live)
    document = {"mdmkit": __version__, "model": model, "sampler": sampler.config}
    settings = {"model-option": model_options, "device": backbone.device.type, "dtype": dtype}
    if places.filing is not None:
        places.filing.check_apart(prompts)
        settings["files"] = places.filing.files.suffix
    if shard is not None:
        settings["shard"] = asdict(shard) | {"batch": batch}
    if places.rows is not None:
        settings["contents"] = contents(backbone, sampler.config, prompts)
    options: dict[str, Any] = {
        "--prompt-key": prompt_key,
        "--chat": chat,
        "--infill": infill,
        "--system": system,
        "--suffix": suffix,
    }
    options |= {"--chat-option": chat_options, "--image": image, "--mask": mask, "--strength": strength}
    known = identity(document, prompts, asked.own, options, **settings)
    expected = Expected(prompts, asked.own, encodings, places, mine, stop_rule(sampler))
    record = open_record(places.rows, known, resume, expected.check, places.stale, places.intact, mine.start)
    traces = Traces(places.trace, document, backbone) if places.trace is not None else None
    results = Results(
        record, traces, collect=as_json or places.rows is None, told=partial(_with_own, places, asked.own)
    )
    if as_json:
        results.rows += record.earlier()
    if traces is not None:
        listening.append(traces.recording)
    rows, auto = _batch(batch, backbone, record, len(prompts))
    own = prompts[mine.start : mine.stop]
    calls, seconds = run(sampler, backbone, own, encodings, lines, rows, results, live, listening, runs, auto)

    places.finish()
    record.finish()
    if as_json:
        nfe = {"rows": sum(row["nfe"] for row in results.rows), "calls": calls}
        click.echo(to_json(document | {"rows": results.rows, "nfe": nfe, "seconds": seconds}))
    else:
        show(results, calls, seconds, encodings.infills)


def _check_files(
    output: Path | None, trace: Path | None, prompts: Path | None, config: Path | None, resume: bool, overwrite: bool
) -> None:
    """Refuse files that cannot be written, or that must not be replaced, before anything is loaded; lock the others."""
    if resume:
        check_resume(output, trace, overwrite)
    targets, sources = {"--output": output, "--trace": trace}, {"--prompts": prompts, "--config": config}
    check_targets(targets, sources, overwrite, "--output" if resume else None)
    for option, path in targets.items():
        if path is not None:
            click.get_current_context().with_resource(held(option, path))
    # Again, now that nobody else writes: a run may have ended since the first check.
    check_targets(targets, sources, overwrite, "--output" if resume else None)
    if resume and output is not None and record_of(output).exists():
        record_to_resume(output)  # a damaged one is refused before the model is loaded


def _hold_others(places: Places, output: Path | None) -> None:
    """Lock what is written beside --output, such as the rows' file in a folder of images."""
    for path in (places.rows, places.filing.replaced if places.filing is not None else None):
        if path is not None and path != output:
            click.get_current_context().with_resource(held("--output", path))


def _share(shard: Shard | None, prompts: int, batch: int | str) -> range:
    """Return the indices of the prompts that are decoded, of so many prompts."""
    if shard is None:
        return range(prompts)
    assert isinstance(batch, int)  # `check_shard` refuses auto
    mine = shard.indices(prompts, batch)
    say_share(shard, mine, prompts, batch)
    return mine


def _batch(batch: int | str, backbone: Backbone, record: Record, prompts: int) -> tuple[int, bool]:
    """Return the number of rows that are decoded together, and whether it is halved as often as needed.

    The number that a run begins with is recorded. With `--resume`, `auto` takes it.
    """
    rows, auto = chosen_batch(batch, backbone)
    if auto:
        rows = record.kept.batch or min(rows, max(1, prompts))
    record.batch = record.kept.batch or rows
    return rows, auto


def _with_own(places: Places, own: dict[int, dict[str, Any]], row: Row) -> dict[str, Any]:
    """A row as it is written, with the id and the other keys of its prompt."""
    return places.told(row) | own.get(row.index, {})


def _sampler(preset: str | None, config: Path | None, overrides: tuple[str, ...], seed: int | None) -> Sampler:
    from mdmkit.config.compose import compose

    if preset is None and not names_sampler(config):
        preset = DEFAULT_SAMPLER
    if seed is not None:
        overrides = (*overrides, f"seed={seed}")
    return compose(preset, config=config, overrides=overrides)


def _samples(backbone: Backbone, model: str, seed: int) -> list[Prompt]:
    from mdmkit.decoding.prompts import read_prompts

    if not backbone.samples:
        raise MdmkitError(
            f"no prompt, and model {model} has no samples: give --prompt TEXT, --prompt-ids or --prompts FILE."
        )
    say(f"No prompt given: decoding the {len(backbone.samples)} sample prompts of {model}.", err=True)
    return read_prompts(backbone.samples, seed)


def _check_watching(engine: UnitEngine, watchers: tuple[str, ...], trace: Path | None, live: bool | None) -> None:
    """Refuse options that must see every step, if other processes make the steps."""
    from mdmkit.decoding.engine import is_remote, named

    given = {"--observer": watchers, "--trace (as JSON)": trace, "--live": live}
    asked = [option for option, value in given.items() if value]
    if asked and is_remote(engine):
        raise MdmkitError(
            f"{named(engine)} decodes in other processes, and {' and '.join(asked)} must see every step. Leave it out, "
            "or decode with --engine here."
        )


def _observers(names: tuple[str, ...], live: bool | None) -> tuple[list[Observer], bool | None]:
    """Return the observers of these names, and whether the live view is on (not beside one on the terminal)."""
    found = registry.default()
    listening: list[Observer] = [found.load(found.find("observer", name))() for name in names]
    if any(getattr(observer, "terminal", False) for observer in listening):
        live = bool(live)
    return listening, live
