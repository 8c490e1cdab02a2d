"""`mdmkit image`: commands for image models, in addition to `mdmkit decode`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mdmkit import MdmkitError
from mdmkit.cli.commands import DEFAULT_SAMPLER, Target, composing, loading, names_sampler, say


@click.group()
def image() -> None:
    """Images for a benchmark's own judge."""


@image.command("geneval")
@loading()
@click.option("--metadata", required=True, type=click.Path(path_type=Path), help="GenEval's evaluation_metadata.jsonl.")
@click.option(
    "--output", required=True, type=Target(directory=True), help="The directory that GenEval's judge will read."
)
@click.option("--samples", type=click.IntRange(1, 10_000), default=4, show_default=True, help="Images per prompt.")
@click.option(
    "--sampler", "preset", help=f"Preset to decode with (default: the --config file's, else {DEFAULT_SAMPLER})."
)
@click.option("--seed", type=int, help="Seed of the run (default: the config's, else 0).")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Images decoded together.")
@composing
def geneval(
    model: str,
    model_options: dict[str, Any],
    metadata: Path,
    output: Path,
    samples: int,
    preset: str | None,
    seed: int | None,
    batch: int,
    device: str,
    dtype: str,
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Draw the prompts of GenEval into the folders that its judge reads.

    The same command continues an interrupted run: complete images are kept.
    """
    from mdmkit_image.geneval import Folders, Metadata

    folders = Folders(output, Metadata.read(metadata), samples)
    import mdmkit
    from mdmkit import read_prompts
    from mdmkit.cli.commands import check_prompts, contents, held, limit_threads

    if preset is None and not names_sampler(config):
        preset = DEFAULT_SAMPLER
    if seed is not None:
        overrides = (*overrides, f"seed={seed}")
    sampler = mdmkit.compose(preset, config=config, overrides=overrides)
    backbone = mdmkit.load(model, device=device, dtype=dtype, **model_options)
    if getattr(backbone.files, "suffix", None) != ".png":
        raise MdmkitError(
            f"GenEval judges images, and {model} draws no images. Name a model that does, such as zoo:digits."
        )
    limit_threads(backbone)
    prompts = read_prompts(folders.requests(sampler.seed), sampler.seed)
    places = {number * samples: place for number, place in enumerate(folders.metadata.places)}
    encodings = check_prompts(backbone, prompts[::samples], sampler.plan, places)
    settings = {"model-option": model_options, "device": backbone.device.type, "dtype": dtype}
    settings["contents"] = contents(backbone, sampler.config, ())
    click.get_current_context().with_resource(held("--output", output))
    folders.open({"mdmkit": mdmkit.__version__, "model": model, "sampler": sampler.config} | settings)
    kept, drawn = _draw(sampler, backbone, folders, prompts, encodings, batch)
    before = f"; {kept} were there before" if kept else ""
    say(f"{drawn} images of {len(folders.metadata.lines)} prompts drawn{before}. All are in {output}.")


def _draw(sampler: Any, backbone: Any, folders: Any, prompts: list[Any], encodings: Any, batch: int) -> tuple[int, int]:
    """Draw the missing images; return the numbers of images kept and drawn."""
    from mdmkit.cli.commands import decode_batches, watching

    done, drawn = folders.done(getattr(backbone.files, "intact", Path.is_file)), 0
    # The length of a text does not depend on the seed, so only its first sample has been encoded.
    sizes = [encodings.size(prompt) for prompt in prompts[:: folders.samples]]
    coming = [sizes[row // folders.samples].masks for row in range(len(prompts)) if row not in done]
    try:
        with watching(False, len(coming), sum(coming)) as views:
            for rows, _ in decode_batches(
                sampler,
                backbone,
                prompts,
                batch=batch,
                observers=views,
                length=lambda prompt: sizes[prompt.index // folders.samples].length,
                done=done,
                encodings=encodings,
                tell=lambda said: say(said, err=True),
            ):
                for row in rows:
                    folders.save(row.index, row.text, backbone.files)
                drawn += len(rows)
    except KeyboardInterrupt:
        say(f"Stopped: {len(done) + drawn} of {len(prompts)} images are there; the same command continues.", err=True)
        raise SystemExit(130) from None
    return len(done), drawn
