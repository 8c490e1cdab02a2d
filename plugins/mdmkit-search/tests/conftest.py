"""What these tests share: a model run one state at a time, and a select whose alternatives follow from the state."""

import itertools
import math
from dataclasses import dataclass
from importlib import metadata

import pytest
import torch

from mdmkit import Actions, noise, ops
from mdmkit.installed.registry import Registry
from mdmkit.testing import ToyBackbone


class Literal:
    """The toy's belief about one unpadded row, in plain numbers; `rows` counts the forwards."""

    def __init__(self):
        self.backbone = ToyBackbone(dtype=torch.float64)
        self.mask, self.rows = self.backbone.mask_id, 0

    def encode(self, text, length):
        letters = {self.backbone.render(i): i for i in range(self.backbone.vocab)}
        ids = [letters[c] for c in text]
        return ids if self.mask in ids else ids + [self.mask] * length

    def probabilities(self, state):
        """[[p of every token] of every position]."""
        self.rows += 1
        tokens = torch.tensor([state])
        hidden = self.backbone.forward(
            tokens, torch.ones_like(tokens).bool(), None, positions=torch.arange(len(state))[None]
        ).hidden
        logits = self.backbone.project(hidden)[0].clone()
        logits[:, [self.mask, *self.backbone.forbidden]] = -torch.inf
        return logits.softmax(-1).tolist()

    def masked(self, state):
        return [i for i, token in enumerate(state) if token == self.mask]

    def uncertainty(self, state, belief):
        """Mean entropy of the masked positions; 0 where none is left."""
        masked = self.masked(state)
        return sum(entropy_of(belief[i]) for i in masked) / len(masked) if masked else 0.0

    def drawn(self, belief, seed, tick, temperature):
        """The tokens that a row of this seed draws at this tick, one per position."""
        one = torch.tensor([seed]), torch.tensor([tick])
        uniform = noise.uniform(*one, "tokens", 1, torch.arange(len(belief))[None])[0, 0].tolist()
        out = []
        for p, u in zip(belief, uniform, strict=True):
            weights = [q ** (1 / temperature) for q in p]
            ladders = itertools.accumulate(weights)
            out.append(next(token for token, ladder in enumerate(ladders) if ladder > u * sum(weights)))
        return out


def entropy_of(p):
    return -sum(q * math.log(q) for q in p if q > 0)


@dataclass(frozen=True)
class Nearby:
    """Alternative i fills the best positions but one, and in place of the last the i-th after it."""

    candidates: int = 3

    @property
    def alternatives(self):
        return self.candidates

    def __call__(self, step, scores):
        n = torch.arange(self.candidates, device=scores.device)
        ranked, open_ = scores[:, None].expand(-1, len(n), -1), step.open[:, None]
        base = ops.top(ranked, open_, (step.quota[:, None] - 1).expand(-1, len(n)).clamp_min(0))
        last = ops.top(ranked, open_, step.quota[:, None] + n) & ~ops.top(ranked, open_, step.quota[:, None] + n - 1)
        last = last & (step.quota > 0)[:, None, None]
        return Actions(base | last, step.tokens[:, None].expand_as(last), last.any(-1))


def nearby(belief, masked, quota, candidates):
    """The same of one state, as sets of positions, best first."""
    best = sorted(masked, key=lambda i: (-max(belief[i]), i))
    return [[*best[: quota - 1], best[quota - 1 + i]] for i in range(candidates) if quota - 1 + i < len(best)]


@pytest.fixture
def literal():
    return Literal()


@pytest.fixture
def entropy():
    return entropy_of


@pytest.fixture
def proposals():
    """(the select, the same in plain Python)"""
    return Nearby, nearby


@pytest.fixture
def registry():
    """Everything that is installed, and this distribution whether it is or not."""
    found = list(metadata.entry_points(group="mdmkit"))
    if not any(point.value == "mdmkit_search.plugin" for point in found):
        found.append(metadata.EntryPoint("search", "mdmkit_search.plugin", "mdmkit"))
    return Registry(found)
