"""A constraint: no token twice in a row, neither beside what is written nor within one step."""

from dataclasses import dataclass, replace

from torch.nn.functional import pad

from mdmkit import Component, Constraint, hookimpl


@dataclass(frozen=True)
class NoRepeat(Constraint):
    """Take `penalty` off the logit of a token that stands beside the position already."""

    penalty: float = 30.0

    def shape(self, logits, states, columns):
        known = pad(states.tokens.masked_fill(states.open, -1), (1, 1), value=-1)  # column t is at t + 1
        for beside in (known.gather(1, columns), known.gather(1, columns + 2)):  # int64 [m, S]
            amount = self.penalty * (beside >= 0)[..., None].to(logits.dtype)
            logits = logits.scatter_add(-1, beside.clamp_min(0)[..., None], -amount)
        return logits

    def settle(self, step, actions):
        twin = (actions.tokens[..., 1:] == actions.tokens[..., :-1]) & actions.place[..., :-1]
        place = actions.place.clone()
        place[..., 1:] &= ~twin  # of two neighbours that would be filled with one token the left one is
        return replace(actions, place=place)


@hookimpl
def mdmkit_constraint():
    return [Component("no_repeat", NoRepeat, "no token beside itself")]
