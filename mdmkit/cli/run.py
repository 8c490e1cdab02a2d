"""Running a decode from the terminal: watched, interruptible, its finished rows safe on disk."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdmkit.cli.output import RowFile

if TYPE_CHECKING:
    from mdmkit.canvas import Prompt
    from mdmkit.decoding import Row
    from mdmkit.model import Backbone
    from mdmkit.observe import Observer
    from mdmkit.sampler import Sampler

# Below this many weights, handing work to a second thread costs more than it saves.
ONE_THREAD_WEIGHTS = 20_000_000


def run(
    sampler: Sampler,
    backbone: Backbone,
    prompts: list[Prompt],
    batch: int,
    output: Path | None,
    live: bool | None,
    listening: list[Observer],
) -> tuple[list[Row], int, float]:
    """Decode batch by batch; what is finished is in the output file whatever happens next."""
    from mdmkit.decoding import decode_batches

    rows: list[Row] = []
    calls, began = 0, time.perf_counter()
    sink = RowFile(output) if output is not None else None
    try:
        with watching(live, len(prompts)) as views:
            observers = [*views, *listening]
            for done, used in decode_batches(sampler, backbone, prompts, batch=batch, observers=observers):
                rows += done
                calls += used
                if sink is not None:
                    sink.write([row.json() for row in done])
    except KeyboardInterrupt:
        kept = f"{len(rows)} of {len(prompts)} rows are finished"
        click.echo(f"Stopped: {kept}{f' and in {output}' if output is not None and rows else ''}.", err=True)
        raise SystemExit(130) from None
    finally:
        if sink is not None:
            sink.close()
    return rows, calls, time.perf_counter() - began


@contextlib.contextmanager
def watching(live: bool | None, prompts: int) -> Iterator[list[Observer]]:
    from rich.console import Console

    console = Console(stderr=True, force_terminal=live or None)
    if live or (live is None and console.is_terminal):
        from mdmkit.cli.live import LiveView

        with LiveView(console, prompts) as view:
            yield [view]
    elif console.is_terminal:
        from mdmkit.cli.live import Meter

        meter = Meter(console, prompts)
        with meter.bar:
            yield [meter]
    else:
        yield []


def limit_threads(backbone: Backbone) -> None:
    import torch

    if (
        backbone.device.type == "cpu"
        and "OMP_NUM_THREADS" not in os.environ
        and 0 < backbone.weights < ONE_THREAD_WEIGHTS
    ):
        torch.set_num_threads(1)
