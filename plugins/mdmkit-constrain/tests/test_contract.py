"""The contract of a constraint, for a rule that ties every position of a row to all others."""

from mdmkit.testing import ConstraintContract, ToyBackbone
from mdmkit_constrain.regex import Regex

# An even number of `a`: every row with an open position has a completion, whatever stands in it.
EVEN = "([^a]*a[^a]*a)*[^a]*"


def _answer(tokens):
    return "".join(ToyBackbone().render(token) for token in tokens)


class TestExact(ConstraintContract):
    component = Regex

    def make(self):
        return Regex(EVEN)

    def holds(self, tokens):
        # The texts before the first mask are not of the answer; none of the prompts has an `a` there but these.
        return sum(token == 1 for token in tokens) % 2 == self.odd(tokens)

    def odd(self, tokens):
        return 1 if tokens[:2] == [1, 2] or (tokens[0], tokens[-1]) == (3, 1) else 0


class TestMask(TestExact):
    def make(self):
        return Regex(EVEN, "mask")
