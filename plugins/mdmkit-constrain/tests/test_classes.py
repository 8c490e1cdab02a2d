"""Sums over the classes of tokens, and over groups of classes: each beside the plain sum over tokens."""

import random

import pytest
import torch
from torch.nn import functional

from mdmkit import Shifted, ops
from mdmkit_constrain import chain, classes
from mdmkit_constrain.apart import of_pattern
from mdmkit_constrain.automaton import Automaton
from mdmkit_constrain.tables import tables_of

VOCAB = 700
ALPHABET = "abcd"


def _tables(pattern="(a|b)*c[abcd]{0,6}", seed=0):
    rng = random.Random(seed)
    texts = [*ALPHABET, *("".join(rng.choices(ALPHABET, k=rng.randint(1, 4))) for _ in range(VOCAB - 5)), None]
    automaton = of_pattern(pattern)
    assert isinstance(automaton, Automaton)
    own = tuple(text and text.encode() for text in texts)
    return tables_of(automaton, own, (3, VOCAB - 1), (9,), (9,))


def _logits(rows, dtype, seed=0):
    logits = torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype) * 4
    logits[:, [3, VOCAB - 1]] = -torch.inf
    return logits


def _by_class(tables, logits, how):
    """One number for each class; a class may have no token."""
    every = functional.pad(logits.double(), (0, 1), value=-torch.inf)
    own = functional.pad(tables.class_of, (0, 1), value=-1)
    return torch.stack([how(every[:, (own == k) | (own < 0)]) for k in range(tables.classes)], 1)


def _mean(own):
    """The mean logit by weight; what it is where no token may be chosen does not matter."""
    weight = own.softmax(-1).nan_to_num(0.0)
    return torch.where(weight > 0, weight * own, 0.0).sum(-1)


def _same(own, tables, logits, near):
    sums = _by_class(tables, logits, lambda x: x.logsumexp(-1))
    torch.testing.assert_close(own.sums, sums, rtol=near, atol=near)
    assert torch.equal(own.best, _by_class(tables, logits, lambda x: x.amax(-1)))
    some = sums > -torch.inf
    mean = _by_class(tables, logits, _mean)
    torch.testing.assert_close(own.mean[some], mean[some], rtol=4 * near, atol=4 * near)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 2e-6)])
@pytest.mark.parametrize("bytes_at_a_time", [1, 1 << 20])
def test_each_class_has_the_sum_the_best_and_the_mean_of_its_tokens(dtype, near, bytes_at_a_time, monkeypatch):
    monkeypatch.setattr(classes, "CPU_BYTES", bytes_at_a_time)
    tables, logits = _tables(), _logits(7, dtype)
    _same(classes.of_classes(tables, logits), tables, logits, near)
    rows = torch.tensor([5, 0, 5])
    _same(classes.of_classes(tables, logits, rows), tables, logits[rows], near)
    chosen = tables.count.argsort(descending=True)[:3]
    tokens = classes.best_tokens(tables, logits, rows, chosen)
    assert torch.equal(tables.class_of[tokens], chosen)
    best = _by_class(tables, logits, lambda x: x.amax(-1))
    assert torch.equal(logits[rows, tokens].double(), best[rows, chosen])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("depth", [60.0, 95.0, 110.0, 740.0, 1e5, torch.inf])
def test_a_class_far_below_the_best_token_keeps_its_weight(dtype, depth):
    tables, logits = _tables(), _logits(3, dtype)
    large = max(range(tables.classes), key=lambda k: tables.count[k])
    logits[1, tables.class_of == large] -= depth
    _same(classes.of_classes(tables, logits), tables, logits, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("depth", [0.0, 95.0, 740.0])
def test_statistics_from_classes_are_those_of_the_shifted_logits(dtype, depth):
    tables, logits = _tables(), _logits(6, dtype)
    large = max(range(tables.classes), key=lambda k: tables.count[k])
    logits[:, tables.class_of == large] -= depth
    values = torch.randn(6, tables.classes, dtype=torch.float64) * 3
    values[torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) < 0.6] = -torch.inf
    values[:, large] = 1.0
    values[0] = -torch.inf
    values[0, large] = 0.0  # it alone may be chosen, however improbable it is
    shifted = Shifted(logits, tables.class_of, functional.pad(values, (0, 1), value=-torch.inf))
    own, wanted = classes.stats(tables, logits, classes.of_classes(tables, logits), values), ops.stats(shifted.made)
    near = 1e-5 if dtype == torch.float32 else 1e-9
    for name in ("top", "lse", "entropy"):
        assert getattr(own, name).dtype == dtype
        torch.testing.assert_close(getattr(own, name), getattr(wanted, name), rtol=near, atol=near)
    assert torch.equal(own.argmax, wanted.argmax)


@pytest.mark.parametrize("pattern", ["(a|b)*c[abcd]{0,6}", "abc", "([ab]c?){2,4}d*", "(a|b|c|d){9}"])
@pytest.mark.parametrize("best", [False, True])
def test_sums_over_groups_are_those_over_every_arrow_of_a_class(pattern, best):
    tables = _tables(pattern)
    torch.manual_seed(0)
    state, rest = (torch.randn(4, tables.states, dtype=torch.float64) for _ in range(2))
    weights = torch.randn(4, tables.classes, dtype=torch.float64)
    add = (lambda x: x.amax(1)) if best else (lambda x: x.logsumexp(1))
    source, by, target = tables.moves.first, tables.moves.second, tables.moves.index
    assert len(tables.ahead.index) <= len(by)
    groups = chain.in_groups(tables, weights, best)

    def plain(ways, at, size):
        found = [
            add(ways[:, at == i]) if bool((at == i).any()) else ways.new_full((4,), -torch.inf) for i in range(size)
        ]
        return torch.stack(found, 1)

    forward = plain(state[:, source] + weights[:, by], target, tables.states)
    torch.testing.assert_close(chain.advance(tables, state, groups, best), forward)
    back = plain(rest[:, target] + weights[:, by], source, tables.states)
    torch.testing.assert_close(chain.withdraw(tables, rest, groups, best), back)
    around = plain(state[:, source] + rest[:, target], by, tables.classes)
    torch.testing.assert_close(chain.between(tables, state, rest, best), around)
