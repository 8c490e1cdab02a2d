"""The observer of `mdmkit bench`: when each row has its first final token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit.loop.observe import Observer
from mdmkit.stage.traits import trait
from mdmkit.watch.final import final_until

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone
    from mdmkit.model.timing import Clock
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step


class FirstText(Observer):
    """Note when the leftmost open position of each row has a token that is final. It never waits for the device.

    Under a search steps belong to particles, so the first text of a row is there when the row has ended.
    """

    def __init__(self, clock: Clock):
        self.clock = clock
        self._first: dict[int, int] = {}  # the first open column of each row
        self._left: dict[int, Any] = {}
        self._steps: list[tuple[Any, list[int], Tensor]] = []

    def on_start(self, sampler: Sampler, backbone: Backbone) -> None:
        self.rewrites = trait("commit", sampler.commit, "rewrites")

    def on_admit(self, id: int, prompt: Prompt, canvas: Canvas) -> None:
        self._first[id] = int(canvas.open[0].long().argmax())

    def on_step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        _, until = final_until(step, actions, choice, self.rewrites)
        self._steps.append((self.clock.now(), list(step.ids), until))

    def on_leave(self, id: int, row: Row | None) -> None:
        self._left[id] = self.clock.now()

    def seconds(self, began: Any) -> list[float]:
        """Return the time of each row since `began`, in order of admission. On CUDA call `clock.wait` first."""
        found: dict[int, Any] = {}
        for moment, ids, until in self._steps:
            for id_, column in zip(ids, until.tolist(), strict=True):
                if id_ not in found and column > self._first[id_]:
                    found[id_] = moment
        return [self.clock.seconds(began, found.get(id_, self._left[id_])) for id_ in self._first]
