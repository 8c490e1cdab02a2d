"""What these tests share: small models whose texts are known, every answer of a row by brute force, random patterns."""

import itertools
import math
import os
import re
from dataclasses import replace

import pytest
import torch

from mdmkit import Output, Plan, Prompt, States, Window, lay_out
from mdmkit.testing import ToyBackbone

# Nothing is kept on disk for the next run.
os.environ["MDMKIT_CONSTRAIN_CACHE"] = "off"

# The vocabulary of the small model: padding, five texts (two of two letters), the mask, and an id that is never used.
TEXTS = (None, "a", "b", "ab", "ba", "c", None, None)
END = 5


class Small(ToyBackbone):
    """The toy with 8 ids, of which some stand for two letters.

    Args:
        independent: True: the belief at a position depends on the position only.
        ends: True: token 5 ends a text, and adds nothing to it.
        block: length of the model's blocks; rows are completed to whole ones.
    """

    def __init__(self, independent=False, ends=False, block=None, **options):
        super().__init__(vocab=8, **{"dtype": torch.float64, "length": 6, **options})
        self.independent, self.model_block = independent, block
        if ends:
            self.ends = self.endings = (END,)

    def texts(self):
        return [None if text is None or i in self.ends else text.encode() for i, text in enumerate(TEXTS)]

    def encode(self, prompts, plan):
        canvas = lay_out(
            prompts,
            [list(prompt.ids or ()) for prompt in prompts],
            [[]] * len(prompts),
            mask_id=self.mask_id,
            pad_id=0,
            vocab=self.vocab,
            plan_length=plan.length,
            default_length=self.length,
            block=self.model_block,
        )
        return canvas, None

    def forward(self, tokens, valid, conditioning, *, positions, cache=None, **more):
        if self.independent:
            return Output(self._places(positions))
        return super().forward(tokens, valid, conditioning, positions=positions, cache=cache, **more)

    def decode(self, canvas):
        rows = zip(canvas.tokens.tolist(), canvas.shown.tolist(), canvas.infill.tolist(), strict=True)
        return [self.text(itertools.compress(row, shown), infill) for row, shown, infill in rows]

    def text(self, ids, infill=False):
        """The text of tokens, up to an end."""
        if not infill:
            ids = list(itertools.takewhile(lambda i: i not in self.ends, ids))
        return "".join(TEXTS[i] or "" for i in ids)

    @property
    def usable(self):
        return [1, 2, 3, 4, 5]


PIECES = (None, b"a", b"b", b"\xc3", b"\xa9", b"\xc3\xbc", b"\xf0\x9f", b"\x98\x80", b"1a", b"\xbf ", None)


class Pieces(Small):
    """A model whose tokens hold bytes, some of them parts of characters."""

    def __init__(self):
        ToyBackbone.__init__(self, vocab=12, dtype=torch.float64)
        self.independent, self.model_block = False, None

    def texts(self):
        return [*PIECES, None]

    def text(self, ids, infill=False):
        return b"".join(PIECES[i] for i in ids).decode()


def completions(model, pattern, tokens, open_, logits, infill=False):
    """Every answer, a tuple of tokens, that keeps the pattern: its log weight, the sum of logits [L, V] where open.

    An end token and what follows it must be end tokens.
    """
    judge, found = re.compile(pattern, re.ASCII), {}
    for answer in itertools.product(*(model.usable if o else [t] for t, o in zip(tokens, open_, strict=True))):
        ended = [i for i in answer if i in model.ends]
        cut = len(answer) - len(ended)
        if ended and (infill or answer[cut:] != tuple(ended)):
            continue
        if judge.fullmatch(model.text(answer)):
            found[answer] = sum(float(logits[t, i]) for t, i in enumerate(answer) if open_[t])
    return found


def marginals(found, length, vocab=8):
    """float64 [L, V]: the distribution of each position under the weights of the answers."""
    top = max(found.values())
    total = sum(math.exp(w - top) for w in found.values())
    out = torch.zeros(length, vocab, dtype=torch.float64)
    for answer, weight in found.items():
        for t, token in enumerate(answer):
            out[t, token] += math.exp(weight - top) / total
    return out


def random_pattern(rng, letters="abc", depth=3):
    """A random pattern over some letters."""
    if depth == 0 or rng.random() < 0.25:
        return rng.choice([*letters, *letters, "[ab]", "[^a]", ".", "a|b", "(ab)"])
    left, right = (random_pattern(rng, letters, depth - 1) for _ in range(2))
    kind = rng.randrange(5)
    if kind == 0:
        return f"({left}|{right})"
    if kind == 1:
        return f"({left}){rng.choice(['*', '+', '?', '{1,2}', '{2,}'])}"
    return f"({left})({right})"


def states_of(canvas, window=None):
    """The states of a canvas's rows as a constraint gets them, with windows [start, stop); None: the whole answers."""
    answers = canvas.answers
    here = torch.device("cpu")
    return States(
        canvas.tokens,
        canvas.open,
        torch.arange(len(canvas.tokens)),
        Window.of(window or answers, here),
        Window.of(answers, here),
        canvas.infill,
    )


def shaped(language, logits, states):
    """What a constraint makes of logits [m, S, V] of all columns of its windows; it gets those of open ones."""
    open_ = states.window(states.open) & states.window.member
    places, flat = open_.flatten().nonzero()[:, 0], logits.flatten(0, 1)
    own = language.shape(flat[places], replace(states, places=places), states.window.columns)
    return flat.index_copy(0, places, own.made).view_as(logits)


def canvas_of(model, rows, length=None):
    """Lay out rows of ids; where the mask's id stands there is a gap. A row without one gets `length` masks."""
    return model.encode([Prompt(ids=tuple(row), seed=i, index=i) for i, row in enumerate(rows)], Plan(length=length))[0]


def never_of(model):
    never = torch.zeros(model.vocab, dtype=torch.bool)
    never[[*model.forbidden, model.mask_id]] = True
    return never


@pytest.fixture
def brute():
    """The names of this file, for tests that cannot import it."""

    class Names:
        pass

    for each in (Small, Pieces, completions, marginals, random_pattern, states_of, shaped, canvas_of, never_of):
        setattr(Names, each.__name__, staticmethod(each))
    Names.END = END
    return Names
