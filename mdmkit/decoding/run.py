"""Prompts in, decoded rows out: batches, and the rows as they go into JSON."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mdmkit.canvas.canvas import Canvas
from mdmkit.canvas.prompt import Prompt
from mdmkit.canvas.row import Row
from mdmkit.canvas.trace import Trace
from mdmkit.decoding.fitting import Fitting, does_not_fit
from mdmkit.decoding.prompts import PromptLike, each_prompt, read_prompts
from mdmkit.decoding.units import InOrder, grouped
from mdmkit.errors import MdmkitError, RowError
from mdmkit.loop.observe import Observer
from mdmkit.loop.sampler import Sampler
from mdmkit.loop.whole import fill_canvas
from mdmkit.model.backbone import Backbone, unwrapped


@dataclass(frozen=True)
class Decoded:
    """All rows of a decode in the order of the prompts, and what they cost together."""

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


def decode(
    sampler: Sampler,
    backbone: Backbone,
    prompts: Iterable[PromptLike],
    *,
    seed: int | None = None,
    batch: int | None = None,
    observers: Iterable[Observer] = (),
) -> Decoded:
    """Decode prompts, `batch` rows of like length at a time (all at once where None).

    A prompt is a text, a list of token ids, or a mapping with `prompt`, `prompt_ids` or `messages` (a conversation)
    and the row's own `seed`, `length` (masks to append), `infill` (False keeps masks inside the prompt as they are),
    `chat`, `system` and `suffix` (see `mdmkit.canvas.prompt.Prompt`). `seed` (the sampler's
    where None) seeds every row that has none of its own, by its index.

    Raises:
        MdmkitError: a prompt cannot be encoded, or the decode fails; the message says which and why.
    """
    backbone = unwrapped(backbone)
    _check(sampler, backbone, batch)
    began, rows, calls = time.perf_counter(), [], 0
    asked = read_prompts(prompts, sampler.seed if seed is None else seed)
    for finished, used in decode_batches(sampler, backbone, asked, batch=batch, observers=observers):
        rows += finished
        calls += used
    return Decoded(sorted(rows, key=lambda row: row.index), calls, time.perf_counter() - began)


def stream(
    sampler: Sampler,
    backbone: Backbone,
    prompts: Iterable[PromptLike],
    *,
    seed: int | None = None,
    batch: int = 16,
    observers: Iterable[Observer] = (),
) -> Iterator[Row]:
    """Decode prompts as `decode` does, and yield each row as soon as it and all rows before it are finished.

    Prompts are read as they are needed, a window of `mdmkit.decoding.units.WINDOW` batches ahead at most, and no row is
    kept: memory does not grow with their number. Prompts of like length share a batch; the rows do not depend on it.

    Raises:
        MdmkitError: as `decode`; where a prompt fails on the way, after the rows that are finished were yielded.
    """
    backbone = unwrapped(backbone)
    _check(sampler, backbone, batch)
    asked = each_prompt(prompts, sampler.seed if seed is None else seed)
    return _in_order(decode_batches(sampler, backbone, asked, batch=batch, observers=observers))


def _in_order(batches: Iterator[tuple[list[Row], int]]) -> Iterator[Row]:
    held: InOrder[Row] = InOrder()
    try:
        for finished, _ in batches:
            while finished:
                row = finished.pop(0)
                yield from held.add(row.index, row)
    except Exception:
        yield from held.rest()
        raise


def _check(sampler: Sampler, backbone: Backbone, batch: int | None) -> None:
    if not isinstance(sampler, Sampler):
        raise MdmkitError(
            f"this wants a sampler, not {sampler!r}: compose it first, as in mdmkit.compose('info_gain')."
        )
    if not isinstance(backbone, Backbone):
        raise MdmkitError(f"this wants a model, not {backbone!r}: load it first, as in mdmkit.load('zoo:puzzles').")
    if batch is not None and (not isinstance(batch, int) or batch < 1):
        raise MdmkitError(f"batch={batch!r}: it is a number of rows, at least 1.")


def decode_batches(
    sampler: Sampler,
    backbone: Backbone,
    prompts: Iterable[Prompt],
    *,
    batch: int | None = None,
    observers: Iterable[Observer] = (),
    length: Callable[[Prompt], int] | None = None,
    done: Container[int] = frozenset(),
    tell: Callable[[str], None] = warnings.warn,
) -> Iterator[tuple[list[Row], int]]:
    """Decode batch by batch; yield each batch's rows and the model calls it took, in no order.

    Args:
        length: positions that a prompt needs, where the caller knows; found by encoding it where None.
        done: indices of prompts whose rows are there already; they are not yielded.
        tell: gets the sentence that the batch had to be halved.

    Raises:
        RowError: a row cannot be decoded further; it names the prompt.
        MdmkitError: anything else that is wrong; or the GPU's memory holds not even half a batch.
    """
    _check(sampler, backbone, batch)
    observers = tuple(observers)

    def measure(prompt: Prompt) -> int:
        return length(prompt) if length is not None else backbone.encode([prompt], sampler.plan)[0].tokens.shape[1]

    def refuse(part: list[Prompt], halved: bool) -> MdmkitError:
        return does_not_fit(sampler, backbone, len(part), max(map(measure, part)), halved)

    def attempt(part: list[Prompt]) -> tuple[list[Row], int]:
        for observer in observers:
            if isinstance(observer, Observer):  # one that only looks like an observer hears what it used to
                observer.on_batch(part)
        canvas, conditioning = backbone.encode(part, sampler.plan)
        try:
            filled, trace = fill_canvas(sampler, backbone, canvas, conditioning, observers)
        except RowError as error:
            raise error.of_prompt(part[error.row].index) from error
        return _rows(backbone, part, canvas, filled, trace), trace.calls

    if batch is None:
        prompts = list(prompts)
        batch = max(1, len(prompts))
    fitting = Fitting(batch, tell, refuse)
    for chunk in grouped(prompts, batch, measure, done):
        for finished, calls in fitting.each(chunk, attempt):
            yield [row for row in finished if row.index not in done], calls


def _rows(backbone: Backbone, prompts: Sequence[Prompt], before: Canvas, after: Canvas, trace: Trace) -> list[Row]:
    texts, shown = backbone.decode(after), before.shown.tolist()
    trace, ends = trace.cpu(), set(backbone.ends)
    out = []
    for b, prompt in enumerate(prompts):
        valid, editable = before.valid[b].tolist(), before.editable[b].tolist()
        infill = bool(before.infill[b])
        start = valid.index(True) if True in valid else len(valid)
        facts = trace.row(b)
        tokens, order = after.tokens[b].tolist(), facts["order"]
        # Columns that an early stop left behind were never decoded.
        kept = [t for t in range(start, len(valid)) if shown[b][t] and (order[t] >= 0 or not editable[t])]
        given = [t for t in range(start, len(valid)) if infill or not editable[t]]
        ended = not infill and any(tokens[t] in ends for t in kept)
        initial = before.tokens[b].tolist()
        per_position = {key: facts[key][start:] for key in ("order", "confidence", "entropy")}
        out.append(
            Row(
                index=prompt.index,
                prompt=prompt.text,
                prompt_ids=[initial[t] for t in given],
                text=texts[b],
                tokens=[tokens[t] for t in kept],
                seed=prompt.seed,
                uncertainty=facts["uncertainty"],
                nfe=facts["nfe"],
                row_tokens=facts["row_tokens"],
                order=[order[t] for t in kept],
                stopped="filled" if infill else "end" if ended else "length",
                trace={"prompt_tokens": initial[start:], "tokens": tokens[start:], **facts, **per_position},
            )
        )
    return out
