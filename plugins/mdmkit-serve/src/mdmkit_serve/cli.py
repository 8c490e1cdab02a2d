"""`mdmkit serve`: answer requests in the form of OpenAI's API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdmkit import MdmkitError, load
from mdmkit.cli.commands import (
    DEFAULT_SAMPLER,
    composing,
    limit_threads,
    loading,
    names_sampler,
    say,
)

if TYPE_CHECKING:
    import socket

    from mdmkit_serve.service import Service

LOOPBACK = ("127.0.0.1", "::1", "localhost")
DEFAULT_LENGTH = 128
KEEP = 1 << 30


@click.command()
@loading()
@click.option(
    "--sampler",
    "preset",
    help=f"Preset of requests that name none (default: the --config file's, else {DEFAULT_SAMPLER}).",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen at; the default is for this machine only."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0: any free one.")
@click.option("--name", help="The model's name in requests (default: as --model).")
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Rows decoded together.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help="Masks appended if a request does not say how many (default: plan.length, else the model's, else 128).",
)
@click.option(
    "--columns",
    type=click.IntRange(min=1),
    help="Columns of all rows together, prompts and answers (default: no limit).",
)
@click.option(
    "--keep-keys",
    type=click.IntRange(min=0),
    default=KEEP,
    show_default=True,
    help="Bytes of keys and values that are kept of answers, for the next turn of a conversation (attention by "
    "blocks); 0: none.",
)
@click.option("--queue", type=click.IntRange(min=0), default=256, show_default=True, help="Rows that may wait.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds after which a request is given up.",
)
@click.option(
    "--max-body", type=click.IntRange(min=1), default=1 << 20, show_default=True, help="Bytes that a request may have."
)
@click.option("--api-key", envvar="MDMKIT_API_KEY", show_envvar=True, help="The key that requests have to bring.")
@composing
def serve(
    model: str,
    model_options: dict[str, Any],
    device: str,
    dtype: str,
    preset: str | None,
    config: Path | None,
    overrides: tuple[str, ...],
    host: str,
    port: int,
    name: str | None,
    batch: int,
    max_tokens: int | None,
    columns: int | None,
    keep_keys: int,
    queue: int,
    timeout: float,
    max_body: int,
    api_key: str | None,
) -> None:
    """Answer requests over HTTP, in the form of OpenAI's API.

    The first SIGTERM or Ctrl-C lets requests finish that were taken on, the second one ends at once.
    """
    from mdmkit import compose
    from mdmkit_serve.crew import Limits
    from mdmkit_serve.metrics import Metrics
    from mdmkit_serve.running import try_out
    from mdmkit_serve.samplers import Samplers
    from mdmkit_serve.scheduler import Scheduler
    from mdmkit_serve.server import bind, run
    from mdmkit_serve.service import Service

    if preset is None and not names_sampler(config):
        preset = DEFAULT_SAMPLER
    if api_key == "":
        raise MdmkitError("--api-key is empty: give a key, or leave it out (MDMKIT_API_KEY too).")
    # A wrong sampler, or a port that is taken, is refused before the load.
    first, taken = compose(preset, config=config, overrides=overrides), bind(host, port)
    backbone = load(model, device=device, dtype=dtype, **model_options)
    limit_threads(backbone)
    if backbone.files is not None:
        raise MdmkitError(f"mdmkit serve answers with text, and the rows of {model} are files: use mdmkit decode.")
    length = max_tokens or first.plan.length or backbone.length or DEFAULT_LENGTH
    samplers = Samplers(preset, config, overrides, length)
    try_out(samplers.own.sampler, backbone)
    metrics = Metrics(lambda said: say(said, err=True))
    scheduler = Scheduler(backbone, Limits(batch, queue, columns, timeout, keep_keys), metrics)
    hosts = frozenset({*LOOPBACK, "[::1]"}) if host in LOOPBACK and api_key is None else None
    service = Service(name or model, backbone, samplers, scheduler, metrics, api_key, max_body, hosts)
    if not run(service, taken, lambda line: say(line, err=True), lambda: _greet(taken, service)):
        raise MdmkitError("the engine thread has ended, see above.")


def _greet(taken: socket.socket, service: Service) -> None:
    own, (host, port) = service.samplers.own, taken.getsockname()[:2]
    masks, rows = service.samplers.length, service.scheduler.limits.slots
    say(f"{service.name} · {own.name} · {masks} masks an answer · {rows} rows together", err=True)
    if service.key is None and host not in LOOPBACK:
        say("Whoever reaches this address can use the server: --api-key asks for a key.", err=True)
    say(f"Serving at http://{f'[{host}]' if ':' in host else host}:{port}/v1 (Ctrl-C ends)", err=True)
