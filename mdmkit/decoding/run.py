"""Decode prompts: they are divided into units, and an engine decodes the units."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Container, Generator, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mdmkit.canvas.prompt import Prompt
from mdmkit.canvas.row import Row
from mdmkit.decoding.batch import chosen_batch
from mdmkit.decoding.closing import Closing
from mdmkit.decoding.encodings import Encodings
from mdmkit.decoding.engine import HERE, EngineLike, as_engine, is_remote, named
from mdmkit.decoding.prompts import PromptLike, each_prompt, read_prompts
from mdmkit.decoding.units import InOrder, units
from mdmkit.decoding.work import Work
from mdmkit.errors import MdmkitError
from mdmkit.loop.observe import Observer, Watchers
from mdmkit.loop.readiness import check_pair, note_without_effect
from mdmkit.loop.sampler import Sampler
from mdmkit.model.backbone import Backbone, unwrapped
from mdmkit.settings.numbers import own


@dataclass(frozen=True)
class Decoded:
    """All rows of a decode, in the order of the prompts, and their total cost."""

    rows: list[Row]
    calls: int
    seconds: float

    @property
    def texts(self) -> list[Any]:
        return [row.text for row in self.rows]

    @property
    def tokens(self) -> list[list[int]]:
        return [row.tokens for row in self.rows]

    @property
    def trace(self) -> list[dict[str, Any]]:
        return [row.trace for row in self.rows]

    @property
    def nfe(self) -> dict[str, int]:
        """NFE in row-forwards and in model calls."""
        return {"rows": sum(row.nfe for row in self.rows), "calls": self.calls}

    @property
    def columns(self) -> dict[str, int]:
        """Tokens needed, and tokens computed, including those that only fill up a batch."""
        return {"needed": sum(row.row_tokens for row in self.rows), "computed": sum(row.columns for row in self.rows)}


def decode(
    sampler: Sampler,
    backbone: Backbone,
    prompts: Iterable[PromptLike],
    *,
    seed: int | None = None,
    batch: int | str | None = None,
    observers: Iterable[Observer] = (),
    engine: EngineLike = HERE,
) -> Decoded:
    """Decode prompts, `batch` rows at a time (None: all at once).

    With `batch="auto"` a decode begins with 64 rows at a time (8 if the model is on a CPU), and halves this number
    whenever the GPU's memory is too small for it.

    A prompt is a text, a list of token ids, or a mapping with `prompt`, `prompt_ids` or `messages` (a conversation). A
    mapping may also have `seed`, `length` (masks to append), `infill` (fill the masks that it holds, or not),
    `chat`, `system` and `suffix` (see `mdmkit.Prompt`). If a prompt has no seed, its row's seed is computed from `seed`
    (None: the sampler's) and the row's index.

    `engine` decodes the units: a name, a mapping with `name` and options, or an instance. The rows do not depend on it.
    An engine that decodes in other processes takes no observers.

    Raises:
        MdmkitError: a prompt cannot be encoded, or the decode fails; the message says which prompt and why.
    """
    backbone, batch = unwrapped(backbone), own(batch)
    _check(sampler, backbone, batch)
    began, rows, calls = time.perf_counter(), [], 0
    asked = read_prompts(prompts, sampler.seed if seed is None else seed)
    for finished, used in decode_batches(sampler, backbone, asked, batch=batch, observers=observers, engine=engine):
        rows += finished
        calls += used
    return Decoded(sorted(rows, key=lambda row: row.index), calls, time.perf_counter() - began)


def stream(
    sampler: Sampler,
    backbone: Backbone,
    prompts: Iterable[PromptLike],
    *,
    seed: int | None = None,
    batch: int | str = 16,
    observers: Iterable[Observer] = (),
    engine: EngineLike = HERE,
) -> Iterator[Row]:
    """Decode prompts as `decode` does, and yield each row as soon as it and all rows before it are finished.

    Prompts are read when they are needed, at most `mdmkit.decoding.units.WINDOW` batches ahead, and yielded rows are
    not stored. So memory does not grow with the number of prompts. Prompts of like length share a unit; a row does not
    depend on the other rows of its unit.

    Raises:
        MdmkitError: as `decode`. If a prompt fails, all finished rows are yielded before the error is raised.
    """
    backbone, batch = unwrapped(backbone), own(batch)
    _check(sampler, backbone, batch)
    asked = each_prompt(prompts, sampler.seed if seed is None else seed)
    return _in_order(decode_batches(sampler, backbone, asked, batch=batch, observers=observers, engine=engine))


def _in_order(batches: Generator[tuple[list[Row], int], None, None]) -> Iterator[Row]:
    held: InOrder[Row] = InOrder()
    with Closing(batches.close):
        try:
            for finished, _ in batches:
                while finished:
                    row = finished.pop(0)
                    yield from held.add(row.index, row)
        except Exception:
            yield from held.rest()
            raise


def _check(sampler: Sampler, backbone: Backbone, batch: int | str | None) -> None:
    check_pair(sampler, backbone)
    if batch is not None:
        chosen_batch(batch, backbone)


def decode_batches(
    sampler: Sampler,
    backbone: Backbone,
    prompts: Iterable[Prompt],
    *,
    batch: int | str | None = None,
    observers: Iterable[Observer] = (),
    length: Callable[[Prompt], int] | None = None,
    done: Container[int] = frozenset(),
    tell: Callable[[str], None] = warnings.warn,
    slots: MutableMapping[int, int] | None = None,
    encodings: Encodings | None = None,
    engine: EngineLike = HERE,
    auto: bool = False,
) -> Generator[tuple[list[Row], int], None, None]:
    """Decode unit by unit; yield each unit's rows, in any order, and its number of model calls.

    A unit is at most four batches of prompts of like length. Those with most to fill are admitted first into `batch`
    slots, and all end before the next unit begins. So prompts and batch size alone decide which rows are decoded
    together, and the same prompts give the same bytes.

    Args:
        batch: the number of slots; `"auto"`: see `decode`; None: all prompts at once.
        length: returns how many positions a prompt needs; None: the prompt is encoded to find out.
        done: indices of prompts whose rows exist already; they are not yielded. If any prompt of a unit is missing, the
            whole unit is decoded again, because the composition of a batch changes the last bits of floats.
        tell: gets the sentence that says that the number of slots was halved.
        slots: index of a unit's first prompt -> the number of slots from this unit on, if it is not `batch`. It is
            read, and changed when memory is too small.
        encodings: what `check_prompts` returned, so that no prompt is encoded twice; a unit's are deleted when it ends.
        engine: decodes the units, see `decode`.
        auto: True: a `batch` that is a number is halved as often as memory is too small for it, as `"auto"` is; False:
            once.

    Raises:
        RowError: a row cannot be decoded further; it names the prompt. The other rows of its unit are yielded first.
        MdmkitError: any other error; or the GPU's memory is too small for half a batch, with `"auto"` for one row.
    """
    _check(sampler, backbone, batch)
    known = encodings if encodings is not None else Encodings(backbone, sampler.plan)
    if batch is None:
        prompts = list(prompts)
        batch = max(1, len(prompts))
    rows, often = chosen_batch(batch, backbone)
    grouped = units(prompts, rows, length or (lambda prompt: known.size(prompt).length), done)
    return decode_units(
        sampler,
        backbone,
        grouped,
        known,
        rows,
        observers=observers,
        done=done,
        tell=tell,
        slots=slots,
        engine=engine,
        auto=auto or often,
    )


def decode_units(
    sampler: Sampler,
    backbone: Backbone,
    grouped: Iterable[list[Prompt]],
    encodings: Encodings,
    batch: int,
    *,
    observers: Iterable[Observer] = (),
    done: Container[int] = frozenset(),
    tell: Callable[[str], None] = warnings.warn,
    slots: MutableMapping[int, int] | None = None,
    engine: EngineLike = HERE,
    auto: bool = False,
) -> Generator[tuple[list[Row], int], None, None]:
    """Decode units that `mdmkit.decoding.units.units` has made; otherwise like `decode_batches`.

    Args:
        auto: True: `batch` is halved as often as memory is too small for it; False: once.
    """
    runs, watchers = as_engine(engine), Watchers(observers)
    if is_remote(runs) and (names := ", ".join(type(observer).__name__ for observer in watchers)):
        raise MdmkitError(
            f"{named(runs)} decodes in other processes, and observers of this process see no steps there. Leave out "
            f"{names}, or decode with engine 'here'."
        )
    note_without_effect(sampler, backbone)
    watchers.start(sampler, backbone)
    work = Work(sampler, grouped, encodings, batch, watchers, tell, slots, auto)
    outcomes = work.outcomes(runs, partial(named, runs))
    with Closing(outcomes.close):
        for outcome in outcomes:
            yield [row for row in outcome.rows if row.index not in done], outcome.calls
            if outcome.errors:
                raise outcome.errors[0]
