"""Run a decode from the terminal. It can be watched and interrupted, and finished rows are safe on disk."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mdmkit.cli.output import is_stream
from mdmkit.cli.saying import say
from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.cli.results import Results
    from mdmkit.decoding.encodings import Encodings
    from mdmkit.decoding.engine import UnitEngine
    from mdmkit.loop.observe import Observer
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone

# Below this many weights, handing work to a second thread costs more than it saves.
ONE_THREAD_WEIGHTS = 20_000_000


def run(
    sampler: Sampler,
    backbone: Backbone,
    prompts: list[Prompt],
    encodings: Encodings,
    lines: dict[int, str],
    batch: int,
    results: Results,
    live: bool | None,
    listening: list[Observer],
    engine: UnitEngine,
    auto: bool = False,
) -> tuple[int, float]:
    """Decode batch by batch; return model calls and seconds.

    Finished rows are always in the files: rows that wait for others are written before an error is raised.

    Args:
        encodings: of every prompt.
        lines: the line of each prompt, for errors.
        results: gets the rows, and knows which it already has.
        engine: decodes the units. If it is remote, nobody may be listening.
        auto: True: `batch` is halved as often as memory is too small for it; False: once.
    """
    from mdmkit.decoding.engine import is_remote
    from mdmkit.decoding.run import decode_units
    from mdmkit.decoding.units import units
    from mdmkit.errors import RowError

    calls, began, record = 0, time.perf_counter(), results.record
    done = record.kept.done
    grouped = list(units(prompts, batch, lambda prompt: encodings.size(prompt).length, done))
    results.again = sum(prompt.index in done for unit in grouped for prompt in unit)
    remote = is_remote(engine)
    coming = [prompt for unit in grouped for prompt in unit if not (remote and prompt.index in done)]
    masks = {prompt.index: encodings.size(prompt).masks for prompt in coming}
    try:
        with watching(False if remote else live, len(masks), sum(masks.values())) as views:
            for rows, used in decode_units(
                sampler,
                backbone,
                grouped,
                encodings,
                batch,
                observers=listening if remote else [*views, *listening],
                done=done,
                tell=lambda said: say(said, err=True),
                slots=record.slots,
                engine=engine,
                auto=auto,
            ):
                results.add(rows)
                calls += used
                for view in views if remote else ():  # it sees no steps, only rows
                    view.count(rows, sum(masks[row.index] for row in rows))
        results.end()
    except KeyboardInterrupt:
        results.end()
        say(f"Stopped: {_kept(results, len(prompts))}", err=True)
        raise SystemExit(130) from None
    except MdmkitError as error:
        results.end()
        where = lines.get(error.prompt) if isinstance(error, RowError) and error.prompt is not None else None
        told = f"{where}: {error}" if where else str(error)
        raise MdmkitError(f"{told} {_kept(results, len(prompts))}" if results.finished else told) from error
    except Exception:
        results.end()
        if results.finished:
            say(f"Stopped: {_kept(results, len(prompts))}", err=True)
        raise
    finally:
        results.close()
    return calls, time.perf_counter() - began


def _kept(results: Results, prompts: int) -> str:
    finished = f"{results.finished} of {prompts} rows are finished"
    file = results.record.file
    if file is None or not results.finished or is_stream(file.path):
        return f"{finished}."
    how = "The same command with --resume"
    if results.traces is not None:
        how = "The same command with --resume, and without --trace,"
    return f"{finished} and in {file.path}. {how} continues from there."


@contextlib.contextmanager
def watching(live: bool | None, prompts: int, tokens: int) -> Iterator[list[Any]]:
    """Show the live view or the progress bar, if there is a terminal, for this number of rows and masks."""
    from rich.console import Console

    console = Console(stderr=True, force_terminal=live or None)
    if live or (live is None and console.is_terminal):
        from mdmkit.cli.live import LiveView

        with LiveView(console, prompts, tokens) as view:
            yield [view]
    elif console.is_terminal:
        from mdmkit.cli.live import Meter

        meter = Meter(console, prompts, tokens)
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
