"""The live view of the canvas, and a progress bar. Both are observers; neither changes the result."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from mdmkit.loop.observe import Observer
from mdmkit.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step

FRAME_SECONDS = 0.08
MASK_SIGN = "▁"


class Meter(Observer):
    """A progress bar over all prompts: tokens, NFE, tokens per second, time left.

    Args:
        prompts: rows to come.
        tokens: masks to fill in all of them; None: later rows are expected to be as long as those seen so far.
    """

    def __init__(self, console: Console, prompts: int, tokens: int | None = None):
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[done]}/{task.fields[prompts]} rows"),
            BarColumn(),
            TextColumn("{task.completed:.0f} tokens · {task.fields[nfe]} NFE · {task.fields[rate]:.0f} tokens/s"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.bar.add_task("", total=tokens, done=0, prompts=prompts, nfe=0, rate=0.0)
        self.prompts, self.expected = prompts, tokens
        self.done = self.nfe = self.tokens = 0
        self.began = time.perf_counter()
        self._open: dict[int, int] = {}  # open positions of the rows at work when they joined
        self._left: dict[int, int] = {}  # and now
        self._seen = self._admitted = 0

    def on_admit(self, id: int, prompt: Prompt, canvas: Canvas) -> None:
        count = int(canvas.open.sum())
        self._open[id] = count
        self._seen += count
        self._admitted += 1
        if self.expected is None:
            self.bar.update(self.task, total=self._seen * self.prompts / max(1, self._admitted))

    def on_step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        place, _ = actions.take(choice)
        left = ((step.open & ~place).sum(1) + (step.canvas.open.sum(1) - step.open.sum(1))).tolist()
        for id_, count in zip(step.ids, left, strict=True):
            self._left[id_] = count
        going = sum(self._open[id_] - count for id_, count in self._left.items())
        self._show(self.tokens + going, self.nfe)

    def on_leave(self, id: int, row: Row | None) -> None:
        count = self._open.pop(id)
        self._left.pop(id, None)
        if row is not None:
            self.done += 1
            self.tokens += count
            self.nfe += row.nfe
        self._show(self.tokens + sum(self._open[i] - count for i, count in self._left.items()), self.nfe)

    def count(self, rows: Sequence[Row], tokens: int) -> None:
        """Count rows that have ended in another process, and the masks that were filled in them."""
        self.done += len(rows)
        self.tokens += tokens
        self.nfe += sum(row.nfe for row in rows)
        self._show(self.tokens, self.nfe)

    def _show(self, tokens: int, nfe: int) -> None:
        rate = tokens / max(1e-9, time.perf_counter() - self.began)
        self.bar.update(self.task, completed=tokens, done=self.done, nfe=nfe, rate=rate)


class LiveView(Observer):
    """Show some of the rows at work: prompt tokens plain, open positions as a low line, new tokens bright."""

    # True if the prompt tokens before the first open position are shown.
    _prompts = True

    def __init__(self, console: Console, prompts: int, tokens: int | None = None, rows: int = 4):
        self.meter, self.rows = Meter(console, prompts, tokens), rows
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self._shown: dict[int, _Shown] = {}
        self._drawn = 0.0

    def __enter__(self) -> LiveView:
        self.live.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.live.stop()

    def on_start(self, sampler: Sampler, backbone: Backbone) -> None:
        self.render, self.title = backbone.render, sampler.name

    def on_admit(self, id: int, prompt: Prompt, canvas: Canvas) -> None:
        self.meter.on_admit(id, prompt, canvas)
        finished = [other for other, row in self._shown.items() if row.left]
        if len(self._shown) >= self.rows and finished:
            del self._shown[finished[0]]
        if len(self._shown) < self.rows:
            self._shown[id] = _Shown.of(canvas, self._prompts)
            self.draw()

    def on_step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        self.meter.on_step(step, actions, choice)
        if time.perf_counter() - self._drawn >= FRAME_SECONDS:
            some = [b for b, id_ in enumerate(step.ids) if id_ in self._shown]
            if some:
                after = step.written(*actions.take(choice)).at(some)
                now = after.tokens.masked_fill(after.open, -1).tolist()
                for b, tokens in zip(some, now, strict=True):
                    self._shown[step.ids[b]].now = tokens
            self.draw()

    def on_leave(self, id: int, row: Row | None) -> None:
        self.meter.on_leave(id, row)
        if row is None:
            self._shown.pop(id, None)
        elif id in self._shown:
            self._shown[id].now, self._shown[id].left = list(row.trace["tokens"]), True
            self.draw()

    def draw(self) -> None:
        """Show the current rows. Tokens that have changed since the last picture are bright."""
        self.live.update(Group(self.panel(), self.meter.bar), refresh=True)
        self._drawn = time.perf_counter()

    def panel(self) -> Panel:
        """The current rows, in a frame."""
        lines = [self._line(row) for row in self._shown.values()]
        for row in self._shown.values():
            row.before = row.now
        return Panel(Group(*lines), title=Text(visible(f"mdmkit · {self.title}")), title_align="left")

    def _line(self, row: _Shown) -> Text:
        line = Text(overflow="fold")
        for t, token in enumerate(row.now):
            if t >= len(row.own) or row.own[t] is None:
                continue
            if not row.own[t]:
                line.append(visible(self.render(token)), style="bold")
            elif token < 0:
                line.append(MASK_SIGN, style="dim")
            else:
                fresh = row.before[t] != token
                line.append(visible(self.render(token)), style="bold #ffffff on #2e7d32" if fresh else "green")
        return line


@dataclass
class _Shown:
    """One row on the screen.

    Attributes:
        own: per column True if decoding fills it; None if it is not shown.
        now, before: the current tokens, and those that were drawn last; −1 at open positions.
        left: True if the row has left.
    """

    own: list[bool | None]
    now: list[int]
    before: list[int]
    left: bool = False

    @classmethod
    def of(cls, canvas: Canvas, prompts: bool) -> _Shown:
        """The row of a canvas [1, T]."""
        valid, editable = canvas.valid[0].tolist(), canvas.editable[0].tolist()
        own = [fill if here and (fill or prompts) else None for fill, here in zip(editable, valid, strict=True)]
        tokens = canvas.tokens.masked_fill(canvas.open, -1)[0].tolist()
        return cls(own, tokens, tokens)


class AnswerView(LiveView):
    """Show only the generated tokens, without the prompt before them."""

    _prompts = False
