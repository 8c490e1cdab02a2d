"""One row of a request, on its way through the engine thread, and what it tells the request."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdmkit import Prompt, Row
    from mdmkit_serve.mailbox import Mailbox
    from mdmkit_serve.samplers import Chosen


@dataclass(frozen=True)
class Begun:
    """The prompt is encoded, and the row waits for a slot."""

    prompt_tokens: int


@dataclass(frozen=True)
class Text:
    """A piece of text that no later step can change."""

    piece: str


@dataclass(frozen=True)
class Draft:
    """The canvas after a step: a text for each position, None where it is open."""

    canvas: list[str | None]


@dataclass(frozen=True)
class Answer:
    """The row has ended.

    Attributes:
        text: all of it, up to a stop.
        finish: `stop` or `length`, as OpenAI's API says.
        count: tokens of the answer.
        stopped: why the row ended, as `Row.stopped`; `stop` for a text of `stop`.
        row: None if a text of `stop` ended the row before it was full.
    """

    text: str
    finish: str
    count: int
    stopped: str
    row: Row | None = None


@dataclass(frozen=True)
class Failed:
    """There is no answer; `status` is that of HTTP."""

    message: str
    status: int


Event = Begun | Text | Draft | Answer | Failed


@dataclass(eq=False)
class Job:
    """One row of a request.

    Attributes:
        index: which choice of its request it is.
        deadline: the moment, of `time.monotonic`, after which it is given up.
        listens: True if the request wants text while the row is at work.
        drafts: True if it wants the canvas of each step.
        number: its place among all jobs since the server began.
        encoded: the encoded prompt.
        takes: columns that it takes while it is at work.
        masks: tokens that it asks for.
        passed: how many rows that came later were admitted before it.
        alone: True if it decodes without others, to find out whose fault an error was.
        said: the text that was passed on.
        due: the moment, of `time.monotonic`, from which more text may be passed on.
        over: True if nobody waits for it any more, or its answer was given.
    """

    prompt: Prompt
    chosen: Chosen
    mailbox: Mailbox
    index: int
    deadline: float
    stop: tuple[str, ...] = ()
    listens: bool = False
    drafts: bool = False
    number: int = 0
    encoded: Any = None
    takes: int = 0
    masks: int = 0
    passed: int = 0
    alone: bool = False
    said: str = ""
    due: float = 0.0
    over: bool = False
    arrived: float = field(default_factory=time.monotonic)

    @property
    def batch(self) -> str:
        """Jobs with the same one share a running batch."""
        return f"{self.chosen.key} alone {self.number}" if self.alone else self.chosen.key
