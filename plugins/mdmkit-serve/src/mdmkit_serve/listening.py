"""The observer of a running batch: text that is final, texts of `stop`, and drafts, for the jobs that ask for them."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch

from mdmkit import Observer, final_until, trait
from mdmkit_serve.job import Answer, Draft, Text
from mdmkit_serve.stops import cut, sure

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from mdmkit import Actions, Backbone, Canvas, Prompt, Row, Sampler, Step
    from mdmkit_serve.job import Event, Job

# What a tokenizer shows for a character whose last bytes are not there yet.
UNFINISHED = "\ufffd"
# Seconds between two pieces of a row's text: a piece costs a decode of all text before it, too.
PAUSE = 0.03


class Listener(Observer):
    """Tell jobs about their rows. A step in which nobody listens costs nothing.

    Args:
        tell: passes an event on.

    Attributes:
        jobs: the job of each row, by the row's id.
        ended: ids of rows that a text of `stop` has ended.
        stepped: ids of rows that have made a step.
    """

    def __init__(self, tell: Callable[[Job, Event], None]):
        self.tell = tell
        self.jobs: dict[int, Job] = {}
        self.ended: list[int] = []
        self.stepped: set[int] = set()
        self._reached: dict[int, int] = {}

    def on_start(self, sampler: Sampler, backbone: Backbone) -> None:
        self.decode, self.rewrites = backbone.decode, trait("commit", sampler.commit, "rewrites")
        self.render = lru_cache(maxsize=1 << 16)(backbone.render)

    def on_admit(self, id: int, prompt: Prompt, canvas: Canvas) -> None:
        self._reached[id] = 0

    def on_leave(self, id: int, row: Row | None) -> None:
        self._reached.pop(id, None)
        self.stepped.discard(id)

    def on_step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        self.stepped.update(step.ids)
        here = [(b, id_, self.jobs[id_]) for b, id_ in enumerate(step.ids) if id_ in self.jobs]
        now = time.monotonic()
        listening = [(b, id_, job) for b, id_, job in here if not job.over and _is_due(job, now)]
        drafting = [(b, id_, job) for b, id_, job in here if job.drafts and not job.over]
        if not listening and not drafting:
            return
        canvas, first = final_until(step, actions, choice, self.rewrites)
        if listening:
            self._listen(listening, canvas, first)
        if drafting:
            after = step.written(*actions.take(choice)) if self.rewrites else canvas
            self._draft(drafting, after)

    def _listen(self, rows: list[tuple[int, int, Job]], canvas: Canvas, first: Tensor) -> None:
        reached = first.tolist()
        moved = [(b, id_, job) for b, id_, job in rows if reached[b] != self._reached[id_]]
        if not moved:
            return
        index = [b for b, _, _ in moved]
        before = torch.arange(canvas.tokens.shape[1], device=first.device) < first[index][:, None]
        some = canvas.at(index)
        # The backbone shows what is valid or editable: the rest is hidden from it.
        some = replace(some, valid=some.valid & before, editable=some.editable & before)
        counts = some.editable.sum(1).tolist() if any(job.stop for _, _, job in moved) else [0] * len(moved)
        for (b, id_, job), text, count in zip(moved, self.decode(some), counts, strict=True):
            self._reached[id_] = reached[b]
            self._pass_on(id_, job, text.rstrip(UNFINISHED), count)

    def _pass_on(self, id_: int, job: Job, text: str, count: int) -> None:
        cut_off = cut(text, job.stop) if job.stop else None
        if cut_off is not None:
            finish(job, cut_off, Answer(cut_off, "stop", count, "stop"), self.tell)
            self.ended.append(id_)
        # If the tokenizer joins the last word otherwise now, it waits for what follows.
        elif job.listens and text.startswith(job.said):
            job.due = time.monotonic() + PAUSE
            until = sure(text, job.stop)
            if until > len(job.said):
                self.tell(job, Text(text[len(job.said) : until]))
                job.said = text[:until]

    def _draft(self, rows: list[tuple[int, int, Job]], canvas: Canvas) -> None:
        some = canvas.at([b for b, _, _ in rows])
        tokens, shown = some.tokens.masked_fill(some.open, -1).tolist(), some.shown.tolist()
        for (_, _, job), row, here in zip(rows, tokens, shown, strict=True):
            show: Any = self.render
            pieces = [None if t < 0 else show(t) for t, seen in zip(row, here, strict=True) if seen]
            self.tell(job, Draft(pieces))


def _is_due(job: Job, now: float) -> bool:
    """True if the text of a job's row is to be read now; with `stop`, after every step."""
    return bool(job.stop) or (job.listens and now >= job.due)


def finish(job: Job, text: str, answer: Answer, tell: Callable[[Job, Event], None]) -> None:
    """Pass on what is left of the text, and the answer. Nothing is passed on for the job after this."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(job.said, text, strict=False)))
    if job.listens and len(text) > same:
        tell(job, Text(text[same:]))
    tell(job, answer)
    job.over = True
