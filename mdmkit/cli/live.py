"""The live view: the canvas filling, and a progress bar. Both are observers; neither changes the result."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from mdmkit.loop.observe import Observer

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.trace import Trace
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
        tokens: masks to fill in them all; where None, rows to come are expected to be as long as those seen.
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
        self._batch = self._left = 0

    def on_start(self, sampler: Sampler, backbone: Backbone, canvas: Canvas) -> None:
        self._batch = int(canvas.masked.sum())
        self._left = self._batch
        if self.expected is None:
            seen = self.done + len(canvas.tokens)
            self.bar.update(self.task, total=(self.tokens + self._batch) * self.prompts / max(1, seen))

    def on_step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        self._left -= int(actions.take(choice)[0].sum())
        self._show(self.tokens + self._batch - self._left, self.nfe)

    def on_end(self, canvas: Canvas, trace: Trace) -> None:
        self.done += len(canvas.tokens)
        self.tokens += self._batch
        self.nfe += int(trace.rows.sum())
        self._show(self.tokens, self.nfe)

    def _show(self, tokens: int, nfe: int) -> None:
        rate = tokens / max(1e-9, time.perf_counter() - self.began)
        self.bar.update(self.task, completed=tokens, done=self.done, nfe=nfe, rate=rate)


class LiveView(Observer):
    """Some rows of the batch as they fill: given tokens plain, open ones low, new ones bright."""

    def __init__(self, console: Console, prompts: int, tokens: int | None = None, rows: int = 4):
        self.meter, self.rows = Meter(console, prompts, tokens), rows
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn = 0.0

    def __enter__(self) -> LiveView:
        self.live.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.live.stop()

    def on_start(self, sampler: Sampler, backbone: Backbone, canvas: Canvas) -> None:
        self.meter.on_start(sampler, backbone, canvas)
        self.render, self.title, self.mask = backbone.render, sampler.name, canvas.mask_id
        self.editable = canvas.editable[: self.rows].tolist()
        self.valid = canvas.valid[: self.rows].tolist()
        self.before = canvas.tokens[: self.rows].tolist()
        self.draw(self.before)

    def on_step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        self.meter.on_step(step, actions, choice)
        if time.perf_counter() - self._drawn >= FRAME_SECONDS:
            place, tokens = actions.take(choice)
            canvas = step.canvas.tokens[: self.rows].clone()
            canvas[:, step.span] = tokens.where(place, step.canvas.tokens[:, step.span])[: self.rows]
            self.draw(canvas.tolist())

    def on_end(self, canvas: Canvas, trace: Trace) -> None:
        self.meter.on_end(canvas, trace)
        self.draw(canvas.tokens[: self.rows].tolist())

    def draw(self, canvas: list[list[int]]) -> None:
        """Show the rows as they are, int [rows, T]; what changed since the last picture is bright."""
        self.live.update(Group(self.panel(canvas), self.meter.bar), refresh=True)
        self.before, self._drawn = canvas, time.perf_counter()

    def panel(self, canvas: list[list[int]]) -> Panel:
        lines = [self._line(b, row) for b, row in enumerate(canvas)]
        return Panel(Group(*lines), title=f"mdmkit · {self.title}", title_align="left")

    def _line(self, b: int, row: list[int]) -> Text:
        line = Text(overflow="fold")
        for t, token in enumerate(row):
            if not self.valid[b][t]:
                continue
            if not self.editable[b][t]:
                line.append(self.render(token), style="bold")
            elif token == self.mask:
                line.append(MASK_SIGN, style="dim")
            else:
                fresh = self.before[b][t] != token
                line.append(self.render(token), style="bold #ffffff on #2e7d32" if fresh else "green")
        return line


class AnswerView(LiveView):
    """What is generated, as it fills, without the prompt before it."""

    def on_start(self, sampler: Sampler, backbone: Backbone, canvas: Canvas) -> None:
        super().on_start(sampler, backbone, replace(canvas, valid=canvas.editable))
