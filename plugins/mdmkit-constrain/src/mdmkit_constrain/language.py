"""A constraint on a whole answer, for one model: what it makes of beliefs, of actions, and which rows it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mdmkit import Actions, Canvas, Constraint, MdmkitError, States, Step, Window
from mdmkit_constrain import chain
from mdmkit_constrain.fitting import why_none
from mdmkit_constrain.joint import Joint
from mdmkit_constrain.tables import Tables
from mdmkit_constrain.ways import Ways

Mode = Literal["exact", "mask"]


@dataclass(frozen=True, eq=False)
class Language(Constraint):
    """Answers that an automaton accepts.

    Args:
        tables: the automaton over the model's tokens, on the model's device.
        on_host: the same on the host.
        what: what the rule is called in errors, such as `pattern 'a+'`.
        mode: `exact`: each open position's belief becomes its distribution under belief × rule. `mask`: tokens after
            which no answer is possible are forbidden, and the belief stays otherwise.
        verdicts: why a row of so many masks, an infill or not, is refused; `refuse` fills it.
    """

    tables: Tables
    on_host: Tables
    what: str
    mode: Mode = "exact"
    verdicts: dict[tuple[int, bool], str | None] = field(default_factory=dict, repr=False)

    whole: ClassVar[bool] = True

    # -- before the model sees a row -----------------------------------------------------------------------------------

    def refuse(self, canvas: Canvas, answer: Window, rule: Mapping[str, Any] | None) -> str | None:
        start, stop = int(answer.start[0]), int(answer.start[0]) + answer.width
        if not bool(canvas.open[0, start:stop].all()):
            return why_none(self.on_host, self.what, canvas, start, stop)
        row = answer.width, bool(canvas.infill[0])  # of masks alone nothing else counts
        if row not in self.verdicts:
            self.verdicts[row] = why_none(self.on_host, self.what, canvas, start, stop)
        return self.verdicts[row]

    # -- beliefs -------------------------------------------------------------------------------------------------------

    def shape(self, logits: Tensor, states: States, columns: Tensor) -> Tensor:
        answer, window, infill = states.answer, states.window, states.infill
        if answer is None or window is None or infill is None:
            raise MdmkitError("these states do not say where their answers are: take them from a decode.")
        tables, support = self.tables, self.mode == "mask"
        rows = states.tokens, states.open, infill
        ways = Ways(tables, answer, window, *rows, best=support, support=support, behind=states.behind)
        known = chain.class_weights(tables, logits)
        sums, (_, inside) = ways.sums(known), ways.places()
        around = chain.between(tables, sums.before.flatten(0, 1), sums.after.flatten(0, 1), support)
        around = around.unflatten(0, inside.shape).masked_fill(known == -torch.inf, -torch.inf)
        top = around.amax(-1, keepdim=True)
        around = around - top.masked_fill(top == -torch.inf, 0.0)
        shaped = logits + chain.per_token(tables, around.to(logits.dtype))
        return torch.where((inside & window(states.open))[..., None], shaped, logits)

    # -- tokens that are filled together -------------------------------------------------------------------------------

    def settle(self, step: Step, actions: Actions) -> Actions:
        support = self.mode == "mask" and not step.draws.greedy
        tokens = Joint(self.tables, step, actions, support).tokens()
        return replace(actions, tokens=tokens)
