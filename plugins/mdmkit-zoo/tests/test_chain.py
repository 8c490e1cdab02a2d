"""The chain is exact: every answer equals the sum over all 4^5 sentences."""

import itertools

import pytest
import torch
from torch import Tensor

from mdmkit import MdmkitError
from mdmkit_zoo.bigram.chain import Chain
from mdmkit_zoo.bigram.information import mutual_information, pairwise_information

WORDS, WIDTH = 4, 5
MASK = WORDS


def tiny_chain(seed: int = 0) -> Chain:
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand(WORDS + 1, WORDS, dtype=torch.float64, generator=generator) ** 3 + 0.01
    table = table / table.sum(1, keepdim=True)
    return Chain(table[:WORDS], table[WORDS])


def patterns() -> Tensor:
    """Rows with every one of the 32 sets of masks, words drawn once: int64 [32, 5]."""
    words = torch.randint(WORDS, (32, WIDTH), generator=torch.Generator().manual_seed(1))
    masks = torch.tensor(list(itertools.product([False, True], repeat=WIDTH)))
    return words.masked_fill(masks, MASK)


class Enumeration:
    """The joint of a chain over all V^L sentences that agree with one row's revealed words."""

    def __init__(self, chain: Chain, row: Tensor):
        every = torch.tensor(list(itertools.product(range(WORDS), repeat=len(row))))
        self.sentences = every[((every == row) | (row == MASK)).all(1)]
        steps = chain.transitions[self.sentences[:, :-1], self.sentences[:, 1:]]
        self.joint = chain.initial[self.sentences[:, 0]] * steps.prod(1)
        self.row = row

    def marginal(self, position: int) -> Tensor:
        """p(x_position | the row's other revealed words) [V]."""
        return torch.zeros(WORDS, dtype=torch.float64).index_add(0, self.sentences[:, position], self.conditional)

    @property
    def conditional(self) -> Tensor:
        return self.joint / self.joint.sum()

    def information(self, i: int, j: int) -> float:
        both = torch.zeros(WORDS * WORDS, dtype=torch.float64)
        both.index_add_(0, self.sentences[:, i] * WORDS + self.sentences[:, j], self.conditional)
        apart = torch.outer(self.marginal(i), self.marginal(j)).flatten()
        seen = both > 0
        return float((both[seen] * (both[seen] / apart[seen]).log()).sum())


CHAIN = tiny_chain()
ROWS = patterns()
EXACT = {"atol": 1e-10, "rtol": 0.0}


def entropies(chain: Chain, tokens: Tensor) -> Tensor:
    """Σ over open positions of their marginal entropies: [M], nats."""
    logp = chain.marginals(tokens)
    return (-(logp.exp() * logp).sum(-1) * (tokens == MASK)).sum(-1)


def test_marginals_of_open_positions_equal_enumeration() -> None:
    got = CHAIN.marginals(ROWS).exp()
    for row, tokens in enumerate(ROWS):
        for position in (tokens == MASK).nonzero()[:, 0].tolist():
            want = Enumeration(CHAIN, tokens).marginal(position)
            torch.testing.assert_close(got[row, position], want, **EXACT)


def test_marginals_of_revealed_positions_are_conditionals_given_the_others() -> None:
    got = CHAIN.marginals(ROWS).exp()
    for row, tokens in enumerate(ROWS):
        for position in (tokens != MASK).nonzero()[:, 0].tolist():
            hidden = tokens.clone()
            hidden[position] = MASK
            torch.testing.assert_close(got[row, position], Enumeration(CHAIN, hidden).marginal(position), **EXACT)


def test_marginals_sum_to_one() -> None:
    torch.testing.assert_close(CHAIN.marginals(ROWS).exp().sum(-1), torch.ones(32, WIDTH, dtype=torch.float64), **EXACT)


def test_log_likelihood_sums_the_masks_out() -> None:
    want = torch.stack([Enumeration(CHAIN, tokens).joint.sum().log() for tokens in ROWS])
    torch.testing.assert_close(CHAIN.log_likelihood(ROWS), want, **EXACT)
    nothing = torch.full((1, WIDTH), MASK)
    assert CHAIN.log_likelihood(nothing).item() == 0.0


def test_viterbi_finds_the_most_probable_completion() -> None:
    best, score = CHAIN.viterbi(ROWS)
    for row, tokens in enumerate(ROWS):
        every = Enumeration(CHAIN, tokens)
        assert best[row].tolist() == every.sentences[every.joint.argmax()].tolist()
        assert score[row].item() == pytest.approx(every.joint.max().log().item(), abs=1e-10)
    torch.testing.assert_close(score, CHAIN.log_likelihood(best), **EXACT)


def test_pairwise_information_equals_enumeration() -> None:
    got = pairwise_information(CHAIN, ROWS)
    for row, tokens in enumerate(ROWS):
        every = Enumeration(CHAIN, tokens)
        for i in range(WIDTH):
            for j in range(WIDTH):
                both_open = i != j and tokens[i] == MASK and tokens[j] == MASK
                want = every.information(i, j) if both_open else 0.0
                assert got[row, i, j].item() == pytest.approx(want, abs=1e-10)
    assert got.max() > 0.05


def test_revealing_a_word_takes_its_entropy_and_its_information_off_the_rest() -> None:
    tokens = ROWS[[-1]]
    logp, information = CHAIN.marginals(tokens), mutual_information(CHAIN, tokens)
    for i in range(WIDTH):
        p = logp[0, i].exp()
        revealed = tokens.repeat(WORDS, 1)
        revealed[:, i] = torch.arange(WORDS)
        gain = entropies(CHAIN, tokens) - (p * entropies(CHAIN, revealed)).sum()
        own = -(p * logp[0, i]).sum()
        assert gain.item() == pytest.approx(own.item() + information[0, i].item(), abs=1e-10)


def test_samples_follow_the_joint() -> None:
    tokens = torch.tensor([[MASK, 1, MASK, MASK, 2]])
    drawn = CHAIN.sample(tokens, 20_000, seed=3)[0]
    every = Enumeration(CHAIN, tokens[0])
    share = (drawn[:, None] == every.sentences).all(-1).double().mean(0)
    assert share.sum().item() == pytest.approx(1.0)
    # Four standard errors of the least certain sentence.
    torch.testing.assert_close(share, every.conditional, atol=4 * 0.5 / 20_000**0.5, rtol=0.0)


def test_samples_are_seeded() -> None:
    tokens = torch.full((2, 8), MASK)
    assert torch.equal(CHAIN.sample(tokens, 5, seed=1), CHAIN.sample(tokens, 5, seed=1))
    assert not torch.equal(CHAIN.sample(tokens, 5, seed=1), CHAIN.sample(tokens, 5, seed=2))


def test_trailing_masks_change_nothing_before_them() -> None:
    longer = torch.cat((ROWS, torch.full((32, 4), MASK)), 1)
    torch.testing.assert_close(CHAIN.marginals(longer)[:, :WIDTH], CHAIN.marginals(ROWS), **EXACT)


def test_padding_changes_nothing_wherever_it_is() -> None:
    alone = CHAIN.marginals(ROWS)
    padded = torch.full((32, WIDTH + 5), 3)
    valid = torch.zeros_like(padded, dtype=torch.bool)
    padded[:, 3:-2], valid[:, 3:-2] = ROWS, True
    together = CHAIN.marginals(padded, valid)
    torch.testing.assert_close(together[:, 3:-2], alone, **EXACT)
    torch.testing.assert_close(together[:, 0].exp(), CHAIN.initial.expand(32, -1), **EXACT)
    torch.testing.assert_close(CHAIN.log_likelihood(padded, valid), CHAIN.log_likelihood(ROWS), **EXACT)


def test_the_default_start_is_stationary() -> None:
    chain = Chain(CHAIN.transitions)
    torch.testing.assert_close(chain.initial @ chain.transitions, chain.initial, **EXACT)
    every = chain.marginals(torch.full((1, 6), MASK)).exp()[0]
    torch.testing.assert_close(every, chain.initial.expand(6, -1), **EXACT)
    turning = Chain(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert turning.initial.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    "matrix", [torch.ones(2, 3) / 3, torch.eye(2).long(), torch.ones(2, 2), torch.tensor([[2.0, -1.0], [0.5, 0.5]])]
)
def test_what_is_not_a_transition_matrix_is_refused(matrix: Tensor) -> None:
    with pytest.raises(MdmkitError, match="transitions must be"):
        Chain(matrix)
