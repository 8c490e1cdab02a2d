"""A constraint: no token twice in a row, neither beside what is written nor within one step."""

from __future__ import annotations

from dataclasses import dataclass

from mdmkit import Component, Constraint, hookimpl


@dataclass(frozen=True)
class NoRepeat(Constraint):
    """Take `penalty` off the logit of a token that stands beside the position already."""

    penalty: float = 30.0

    def shape(self, logits, states, columns):
        last = states.tokens.shape[1] - 1
        for beside in (columns - 1, columns + 1):  # int64 [m, S]
            inside = (beside >= 0) & (beside <= last)
            place = beside.clamp(0, last)
            known = inside & ~states.open.gather(1, place)
            amount = self.penalty * known[..., None].to(logits.dtype)
            logits = logits.scatter_add(-1, states.tokens.gather(1, place)[..., None], -amount)
        return logits

    def settle(self, step, actions):
        twin = actions.tokens[..., 1:] == actions.tokens[..., :-1]  # of two neighbours filled at once, the left stays
        clash = twin & actions.place[..., 1:] & actions.place[..., :-1]
        place = actions.place.clone()
        place[..., 1:] &= ~clash
        return type(actions)(place, actions.tokens, actions.live, actions.steps)


@hookimpl
def mdmkit_constraint():
    return [Component("no_repeat", NoRepeat, "no token beside itself")]
