"""What stages read off logits equals the textbook formulas in float64."""

import pytest
import torch

from mdmkit import ops
from mdmkit.stage.belief import Belief


@pytest.fixture
def logits():
    return torch.randn(3, 5, 11, generator=torch.Generator().manual_seed(0)) * 4


def test_stats_equal_float64_formulas(logits):
    logits[0, 0, 3] = -torch.inf
    p = logits.double().softmax(-1)
    entropy = -(p * p.clamp_min(1e-300).log()).sum(-1)
    ordered = logits.sort(dim=-1, descending=True).values
    got = ops.stats(logits)
    torch.testing.assert_close(got.entropy.double(), entropy, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(got.lse.double(), logits.double().logsumexp(-1), atol=1e-6, rtol=1e-6)
    assert torch.equal(got.top, ordered[..., 0]) and torch.equal(ops.runner_up(logits), ordered[..., 1])
    assert torch.equal(got.argmax, logits.argmax(-1))


def test_a_certain_position_has_entropy_zero_and_confidence_one():
    belief = Belief(torch.tensor([[-torch.inf, 3.0, -torch.inf]]))
    assert belief.entropy.tolist() == [0.0] and belief.confidence.tolist() == [1.0]
    assert belief.top2.tolist() == [[1.0, 0.0]]


def test_chunks_change_nothing(logits, monkeypatch):
    whole = ops.stats(logits)
    u = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tokens = ops.sample(logits, u, 0.8)
    monkeypatch.setattr(ops, "CPU_CHUNK_BYTES", 4 * 11 * 2)
    parts = ops.stats(logits)
    assert all(torch.equal(getattr(whole, n), getattr(parts, n)) for n in ops.Stats.__dataclass_fields__)
    assert torch.equal(ops.sample(logits, u, 0.8), tokens)


def test_belief_log_probabilities(logits):
    belief = Belief(logits)
    torch.testing.assert_close(belief.logp, logits.log_softmax(-1))
    tokens = torch.randint(11, (3, 5, 2), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(belief.logp_of(tokens), logits.log_softmax(-1).gather(-1, tokens))


def test_top_takes_the_count_each_row_asks_for_and_the_first_of_a_tie():
    scores = torch.tensor([[1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0], [0.0, 1.0, 2.0, 3.0]])
    eligible = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 0, 0]]).bool()
    got = ops.top(scores, eligible, torch.tensor([1, 2, 4]))
    assert got.int().tolist() == [[0, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0]]


def test_top_prefers_any_eligible_entry_to_every_other():
    got = ops.top(torch.tensor([[-torch.inf, 9.0, -torch.inf]]), torch.tensor([[True, False, True]]), torch.tensor([2]))
    assert got.tolist() == [[True, False, True]]


def test_samples_follow_the_tempered_distribution():
    logits = torch.tensor([[[2.0, 0.0, -1.0, -torch.inf]]])
    u = (torch.arange(40000, dtype=torch.float64)[None, :, None] + 0.5) / 40000
    tokens = ops.sample(logits, u, temperature=0.5)
    share = torch.bincount(tokens.flatten(), minlength=4) / 40000
    torch.testing.assert_close(share, (logits / 0.5).softmax(-1)[0, 0], atol=1e-4, rtol=0)
    assert share[3] == 0


@pytest.mark.parametrize(
    ("kept", "allowed"),
    [({"top_k": 2}, {0, 1}), ({"top_p": 0.5}, {0}), ({"top_p": 0.7}, {0, 1}), ({"top_p": 1e-9}, {0})],
)
def test_top_k_and_top_p_cut_the_tail(kept, allowed):
    logits = torch.tensor([[[0.6, 0.2, 0.15, 0.05]]]).log()
    u = (torch.arange(1000, dtype=torch.float64)[None, :, None] + 0.5) / 1000
    assert set(ops.sample(logits, u, 1.0, **kept).flatten().tolist()) == allowed


def test_top_p_keeps_no_more_than_it_needs_where_the_sum_is_met_exactly():
    logits = torch.tensor([[[0.5, 0.25, 0.25]]], dtype=torch.float64).log()
    u = (torch.arange(100, dtype=torch.float64)[None, :, None] + 0.5) / 100
    assert set(ops.sample(logits, u, 1.0, top_p=0.5).flatten().tolist()) == {0}


def test_the_last_uniform_still_gives_a_possible_token():
    logits = torch.tensor([[[0.0, 0.0, -torch.inf]]])
    u = torch.full((1, 1, 1), 1 - 2.0**-53, dtype=torch.float64)
    assert ops.sample(logits, u, 1.0).item() == 1


@pytest.mark.parametrize("rows", [2, 3, 5, 7, 8])
def test_no_chunk_holds_a_single_row(rows, monkeypatch):
    monkeypatch.setattr(ops, "CPU_CHUNK_BYTES", 1)  # as small as it can be: two rows
    sizes = []
    ops.in_chunks(lambda z: (sizes.append(len(z)), z.sum(-1))[1:], torch.rand(rows, 11))
    assert sum(sizes) == rows and min(sizes) >= 2


@pytest.mark.parametrize("mass", [1e-6, 0.3, 0.5, 0.9, 0.999])
def test_a_nucleus_is_that_of_all_tokens_sorted(mass):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(12, 700, generator=draw, dtype=torch.float64)
    logits *= torch.tensor([0.01, 1.0, 3.0, 9.0] * 3)[:, None]
    logits[4:8] = logits[4:8].round()  # many tokens are as probable as the last one of the nucleus
    logits[8:, ::3] = -torch.inf
    p = logits.softmax(-1)
    ordered, index = p.sort(dim=-1, descending=True, stable=True)
    expected = torch.zeros_like(p, dtype=torch.bool).scatter(-1, index, ordered.cumsum(-1) - ordered < mass)
    got = ops.nucleus(p, mass)
    assert torch.equal(got, expected)
    assert got[0].sum() > ops.NUCLEUS or mass < 0.9  # a row whose nucleus is wide was among them
    assert ops.nucleus(torch.full((1, 700), torch.nan), mass).shape == (1, 700)


@pytest.mark.parametrize("tokens", [8, 700])
def test_a_token_behind_exactly_the_mass_is_outside_of_the_nucleus(tokens):
    p = torch.zeros(1, tokens, dtype=torch.float64)
    p[0, :4] = torch.tensor([0.5, 0.25, 0.125, 0.125])
    assert [int(ops.nucleus(p, mass).sum()) for mass in (0.5, 0.75, 0.875)] == [1, 2, 3]
