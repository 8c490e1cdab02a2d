"""Likelihoods against a model whose true ones are known, and against brute force on one whose are not."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Output, Prompt, lay_out
from mdmkit.testing import NoiseToy, ToyBackbone
from mdmkit_tasks.likelihood import Pair, _maskings, _segments, log_likelihood, pair


@pytest.fixture(scope="module")
def bigram():
    return mdmkit.load("zoo:bigram")


TEXT = ("in the beginning god", " created the heavens and the earth .")


def truth(model, given: Pair) -> float:
    both = torch.tensor([given.ids[: given.end], given.ids[: given.start]][:1])
    before = torch.tensor([given.ids[: given.start]])
    return float(model.chain.log_likelihood(both) - model.chain.log_likelihood(before))


def test_left_to_right_is_exact_where_the_model_is(bigram) -> None:
    given = pair(bigram, *TEXT)
    assert bigram.text(given.continuation) == TEXT[1].strip().replace(" .", ".")
    assert log_likelihood(bigram, given, kind="left_to_right") == pytest.approx(truth(bigram, given), abs=1e-3)


def test_the_bound_is_tight_on_average_where_conditionals_are_exact(bigram) -> None:
    """In an exact model every order gives the joint, so the mean over maskings is the truth, not less."""
    given = pair(bigram, *TEXT)
    estimates = [log_likelihood(bigram, given, samples=64, seed=seed) for seed in range(8)]
    error = torch.tensor(estimates).std() / math.sqrt(8)
    assert abs(sum(estimates) / 8 - truth(bigram, given)) < 4 * error and error < 1.0
    again = log_likelihood(bigram, given, samples=64, seed=0, batch=5)
    assert again == pytest.approx(estimates[0], abs=1e-4) != estimates[1]


def test_the_bound_is_the_mean_over_all_maskings() -> None:
    """Brute force on a random model: every number of masks equally likely, every set of that size too."""
    model = ToyBackbone()
    ids = [5, 3, 7, 2, 6]
    given, n = Pair(ids, 2, 5), 3
    exact = 0.0
    for masks in range(1, n + 1):
        sets = list(itertools.combinations(range(2, 5), masks))
        for hidden in sets:
            tokens = torch.tensor([[model.mask_id if i in hidden else t for i, t in enumerate(ids)]])
            logits = model.project(
                model.forward(tokens, torch.ones_like(tokens).bool(), None, positions=torch.arange(5)[None]).hidden
            ).float()
            logits[..., model.mask_id] = -torch.inf
            logp = logits.log_softmax(-1)[0]
            exact += sum(float(logp[i, ids[i]]) for i in hidden) * n / masks / len(sets) / n
    assert log_likelihood(model, given, samples=60000, batch=5000) == pytest.approx(exact, abs=0.1)


def test_numbers_of_masks_are_shared_out_evenly() -> None:
    hidden, weight = _maskings(5, 50, torch.Generator().manual_seed(1))
    assert torch.bincount(hidden.sum(1), minlength=6).tolist() == [0, 10, 10, 10, 10, 10]
    assert weight.sum(1).tolist() == pytest.approx([5 / 50] * 50)  # l positions of n / l each


def test_one_token_needs_no_sampling(bigram) -> None:
    given = pair(bigram, "in the", " beginning")
    assert log_likelihood(bigram, given, samples=3) == pytest.approx(truth(bigram, given), abs=1e-4)


def test_a_block_model_is_a_chain_of_its_blocks() -> None:
    assert _segments(4, 13, block=4) == [(4, 8), (8, 12), (12, 13)]
    assert _segments(5, 7, block=4) == [(5, 7)]
    assert _segments(5, 8, block=1) == [(5, 6), (6, 7), (7, 8)]
    assert _segments(5, 8, block=None) == [(5, 8)]


class Causal(ToyBackbone):
    """The toy with blocks: a position sees its own block and those before it, by adding up what it sees."""

    block = 1

    def encode(self, prompts, plan):
        ids = [list(prompt.ids) for prompt in prompts]
        return lay_out(
            prompts, ids, [[] for _ in ids], mask_id=self.mask_id, pad_id=0, vocab=self.vocab, plan_length=None,
            default_length=None, max_length=None, block=self.block,
        ), None  # fmt: skip

    def forward(self, tokens, valid, conditioning, *, positions, cache=None, **more):
        last = (positions // self.block + 1) * self.block - 1
        sums = torch.nn.functional.one_hot(tokens, self.vocab).float().cumsum(1)
        return Output(sums.gather(1, last.clamp_max(tokens.shape[1] - 1)[..., None].expand(-1, -1, self.vocab)))

    def project(self, hidden):
        table = torch.randn(self.vocab, self.vocab, generator=torch.Generator().manual_seed(3))
        return hidden @ table


def test_blocks_of_one_token_are_exact_in_one_forward_each() -> None:
    model, given = Causal(), Pair([5, 3, 7, 2, 6], 2, 5)
    bound = log_likelihood(model, given, samples=2)
    assert bound == pytest.approx(log_likelihood(model, given, kind="left_to_right"), abs=1e-4)


def test_what_comes_later_does_not_matter_in_a_block_model() -> None:
    model = Causal()
    model.block = 2
    whole = log_likelihood(model, Pair([5, 3, 7, 2, 6, 4], 2, 6), kind="left_to_right")
    first = log_likelihood(model, Pair([5, 3, 7, 2], 2, 4), kind="left_to_right")
    second = log_likelihood(model, Pair([5, 3, 7, 2, 6, 4], 4, 6), kind="left_to_right")
    assert whole == pytest.approx(first + second, abs=1e-4)


def test_bad_input(bigram) -> None:
    with pytest.raises(MdmkitError, match="has no tokens"):
        pair(bigram, "in the", " ")
    with pytest.raises(MdmkitError, match="Did you mean 'bound'"):
        log_likelihood(bigram, pair(bigram, *TEXT), kind="bounds")
    with pytest.raises(MdmkitError, match="NoiseToy has no mask"):
        log_likelihood(NoiseToy(), Pair([1, 2, 3], 1, 3))
    assert bigram.encode([Prompt(ids=(1, 2), length=0)], mdmkit.Plan())[0].tokens.shape == (1, 2)


@pytest.mark.parametrize("kind", ["bound", "left_to_right"])
def test_a_checkpoint_with_blocks_is_scored_block_by_block(kind: str) -> None:
    """SDAR's attention: the first block's score cannot depend on the second one, nor the second's on how it is cut."""
    golden = Path(__file__).resolve().parents[3] / "tests" / "golden" / "sdar"
    model = mdmkit.load(str(golden), device="cpu", mask_id=125, block_length=4)
    ids = [9, 30, 41, 17, 88, 23, 54, 61, 77, 12, 35, 90]
    whole = log_likelihood(model, Pair(ids, 4, 12), kind=kind, samples=1500, batch=500)
    first = log_likelihood(model, Pair(ids[:8], 4, 8), kind=kind, samples=1500, batch=500, seed=1)
    second = log_likelihood(model, Pair(ids, 8, 12), kind=kind, samples=1500, batch=500, seed=2)
    assert whole == pytest.approx(first + second, abs=1e-3 if kind == "left_to_right" else 0.5)
    changed = [*ids[:8], *reversed(ids[8:])]
    other = log_likelihood(model, Pair(changed, 4, 12), kind="left_to_right")
    assert other != pytest.approx(log_likelihood(model, Pair(ids, 4, 12), kind="left_to_right"), abs=1e-3)
