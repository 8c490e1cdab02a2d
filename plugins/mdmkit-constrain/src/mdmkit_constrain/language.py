"""A constraint on a whole answer, for one model: what it makes of beliefs, of actions, and which rows it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit import Actions, Canvas, Constraint, MdmkitError, Shifted, States, Step, Window, ops
from mdmkit_constrain import chain, classes
from mdmkit_constrain.fitting import why_none
from mdmkit_constrain.joint import BEST, SUMS, Joint
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

    def shape(self, logits: Tensor, states: States, columns: Tensor) -> Shifted:
        answer, window, infill, places = states.answer, states.window, states.infill, states.places
        if answer is None or window is None or infill is None or places is None:
            raise MdmkitError("these states do not say where their answers are: take them from a decode.")
        tables, support = self.tables, self.mode == "mask"
        rows = states.tokens, states.open, infill
        ways = Ways(tables, answer, window, *rows, best=support, support=support, behind=states.behind)
        own = classes.of_classes(tables, logits)
        if states.notes is not None:
            states.notes[BEST], states.notes[SUMS] = own.best, own.sums
        known = own.sums.new_zeros(window.member.numel(), tables.classes).index_copy(0, places, own.sums)
        sums, (_, inside) = ways.sums(known.unflatten(0, window.member.shape)), ways.places()
        before, after = (x.flatten(0, 1)[places] for x in (sums.before, sums.after))
        around = chain.between(tables, before, after, support).masked_fill(own.sums == -torch.inf, -torch.inf)
        top = around.amax(-1, keepdim=True)
        around = around - top.masked_fill(top == -torch.inf, 0.0)
        free = ~(inside & window(states.open)).flatten()[places]  # not of the answer, or not open
        values = functional.pad(around, (0, 1), value=-torch.inf).masked_fill(free[:, None], 0.0)
        stats = _with_free(classes.stats(tables, logits, own, around), logits, free)
        return Shifted(logits, tables.class_of, values, stats)

    # -- tokens that are filled together -------------------------------------------------------------------------------

    def settle(self, step: Step, actions: Actions) -> Actions:
        support = self.mode == "mask" and not step.draws.greedy
        tokens = Joint(self.tables, step, actions, support).tokens()
        return replace(actions, tokens=tokens)


def _with_free(stats: ops.Stats, logits: Tensor, free: Tensor) -> ops.Stats:
    """The statistics with those of the logits themselves where bool [n] says that the rule does not hold."""
    if not ops.readable(free):
        return stats.each(lambda own, plain: torch.where(free, plain, own), ops.stats(logits))
    index = free.nonzero()[:, 0]
    if not len(index):
        return stats
    return stats.each(lambda own, plain: own.index_copy(0, index, plain), ops.stats(logits[index]))
