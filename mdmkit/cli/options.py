"""Options that several commands have, and functions that read them."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mdmkit.decoding.batch import AUTO
from mdmkit.errors import MdmkitError, shown
from mdmkit.installed import registry

Command = Callable[..., Any]
# Seconds in which the first of several processes says what is wrong.
_PATIENCE = 15.0


def _add_plugins(ctx: click.Context, param: click.Parameter, files: tuple[str, ...]) -> None:
    for file in files:
        registry.default().add_file(file)


def plugin_option(command: Command) -> Command:
    """Add `--plugin FILE`, which registers the file's parts before the command runs. It adds no argument."""
    return click.option(
        "--plugin",
        metavar="FILE",
        multiple=True,
        expose_value=False,
        is_eager=True,
        callback=_add_plugins,
        help="Add the parts of a Python file; may be repeated.",
    )(command)


def composing(command: Command) -> Command:
    """Add `--config FILE` (as `config`, a path or None), `--set KEY=VALUE` (as `overrides`) and `--plugin FILE`."""
    command = plugin_option(command)
    command = click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Change one key, such as plan.length=64 or select.candidates=4; may be repeated.",
    )(command)
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Read the sampler's configuration from a YAML file.",
    )(command)


class BatchType(click.ParamType):
    """A number of rows from 1, or `auto`."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == AUTO:
            return AUTO
        try:
            rows = int(value)
        except ValueError:
            rows = 0
        return rows if rows >= 1 else self.fail(f"{value!r} is not a number of rows from 1, and not auto.", param, ctx)


def batch_option(default: int) -> Callable[[Command], Command]:
    """Add `--batch N|auto` (as `batch`, an int or "auto"; see `mdmkit.decoding.batch`)."""
    return click.option(
        "--batch",
        type=BatchType(),
        default=default,
        show_default=True,
        help="Rows decoded together; auto: 64 (on a CPU 8), halved whenever the GPU's memory is too small.",
    )


def computing(command: Command) -> Command:
    """Add `--device` and `--dtype`, as `mdmkit.load` takes them."""
    command = click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        show_default=True,
        help="Precision of the model.",
    )(command)
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where to compute.",
    )(command)


def _of_pairs(name: str, read: Callable[[tuple[str, ...]], dict[str, Any]], help: str) -> Callable[[Command], Command]:
    """An option `--NAME-option KEY=VALUE` that may be repeated (as `NAME_options`, a dict)."""
    return click.option(
        f"--{name}-option",
        f"{name}_options",
        metavar="KEY=VALUE",
        multiple=True,
        callback=lambda ctx, param, given: read(given),
        help=help,
    )


def model_option(command: Command) -> Command:
    """Add `--model-option KEY=VALUE` (as `model_options`, a dict)."""
    return _of_pairs("model", pairs, "An option of the backbone, e.g. mask_id=5; may be repeated.")(command)


def loading(default: str | None = None) -> Callable[[Command], Command]:
    """Add `--model REF`, required where there is no default, `--model-option` (as `model_options`, a dict), and those
    of `computing`. Of several processes that share a model, the first one runs the command."""

    def add(command: Command) -> Command:
        command = model_option(computing(_by_the_first(command)))
        return click.option(
            "--model",
            required=default is None,
            default=default,
            show_default=True,
            help="zoo:NAME, a directory, a hub id, or BACKBONE:any of these.",
        )(command)

    return add


def _by_the_first(command: Command) -> Command:
    """Run a command in the first of torchrun's processes; the others only load the model, and compute with it.

    The model option `tp` says how many they are, for every backbone that can be divided.
    """

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        count = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
        if count == 1 or os.environ.get("RANK") == "0":
            _must_share(count, given["model_options"])
            return command(**given)
        try:
            _must_share(count, given["model_options"])
            from mdmkit.model.loading import load

            load(given["model"], device=given["device"], dtype=given["dtype"], **given["model_options"])
        except MdmkitError:
            time.sleep(_PATIENCE)  # the first process fails with the same words, and torchrun then ends this one
            raise

    return run


def _must_share(count: int, options: dict[str, Any]) -> None:
    if count > 1 and "tp" not in options:
        raise MdmkitError(
            f"torchrun has started {count} processes, and nothing divides the model over them: add --model-option "
            f"tp={count}. If each process should decode other prompts, use --shard, without torchrun."
        )


def chat_option(command: Command) -> Command:
    """Add `--chat-option KEY=VALUE` (as `chat_options`, a dict)."""
    return _of_pairs(
        "chat",
        lambda given: pairs(given, "--chat-option", "enable_thinking=false"),
        "Set a variable of the chat template, e.g. enable_thinking=false; may be repeated.",
    )(command)


def engine_option(command: Command) -> Command:
    """Add the options of an engine (as `engine`, for `as_engine`: a dict with its name and its options).

    `--workers`, `--gpus-per-worker` and `--address` are short for the engine's options of these names.
    """

    @functools.wraps(command)
    def call(
        *args: Any,
        engine: str,
        engine_options: dict[str, Any],
        workers: int | None,
        gpus_per_worker: float | None,
        address: str | None,
        **rest: Any,
    ) -> Any:
        options = {"workers": workers, "gpus_per_worker": gpus_per_worker, "address": address}
        options = {name: value for name, value in options.items() if value is not None}
        for name in options.keys() & engine_options:
            raise MdmkitError(f"--{name.replace('_', '-')} and --engine-option {name}=… are one option: give one.")
        return command(*args, engine={"name": engine, **engine_options, **options}, **rest)

    def read(given: tuple[str, ...]) -> dict[str, Any]:
        options = pairs(given, "--engine-option", "workers=2")
        if "name" in options:
            raise MdmkitError(f"--engine-option name={options['name']}: name the engine with --engine.")
        return options

    added: Command = call
    added = click.option("--address", metavar="ADDRESS", help="Of an engine: where the machines are found.")(added)
    added = click.option("--gpus-per-worker", type=float, metavar="G", help="Of an engine: GPUs of each worker.")(added)
    added = click.option("--workers", type=int, metavar="N", help="Of an engine: how many workers decode.")(added)
    added = _of_pairs("engine", read, "Passed to the engine, e.g. workers=2; may be repeated.")(added)
    return click.option(
        "--engine",
        metavar="NAME",
        default="here",
        show_default=True,
        help="The installed engine that decodes: this process, or others.",
    )(added)


def names_sampler(config: Path | None) -> bool:
    """Return True if a config file names a sampler, or defines one itself."""
    from mdmkit.config.layers import config_layer

    if config is not None and not config.is_file():
        return True  # a pipe can be read only once, and a config from a pipe is taken as complete

    return bool({"sampler", "score", "select"} & set(config_layer(config)[1]))


def names(given: str, option: str) -> list[str]:
    """Split a list at its commas.

    Raises:
        MdmkitError: it is empty, or a name occurs in it twice.
    """
    found = [name.strip() for name in given.split(",") if name.strip()]
    if not found:
        raise MdmkitError(f"{option} {given!r}: name at least one.")
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice is not None:
        raise MdmkitError(f"{option} {given!r}: {twice!r} occurs twice.")
    return found


def pairs(given: tuple[str, ...], option: str = "--model-option", example: str = "mask_id=5") -> dict[str, Any]:
    """Read KEY=VALUE options. A value is read as JSON if it is JSON, else as text."""
    options = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if option == "--model-option" and key in ("cls", "ref", "device", "dtype", "registry"):
            raise MdmkitError(
                f"--model-option {shown(pair)}: {key} cannot be passed this way. Use --model, --device or --dtype."
            )
        if not equals or not key.isidentifier():
            raise MdmkitError(f"{option} {shown(pair)}: write it as KEY=VALUE, e.g. {option} {example}.")
        try:
            options[key] = json.loads(value)
        except (ValueError, RecursionError):
            options[key] = value
    return options
