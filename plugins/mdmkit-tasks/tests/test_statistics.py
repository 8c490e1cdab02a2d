"""The numbers of a table, against numbers worked out by hand or by another route."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from mdmkit_tasks.plots import grouped, order_density, pearson
from mdmkit_tasks.statistics import compare, holm, mean_and_error, table


def rows(scores: list[list[float]]) -> list[dict]:
    """Rows of [seeds][prompts] scores."""
    return [{"seed": s, "index": i, "score": v} for s, line in enumerate(scores) for i, v in enumerate(line)]


def test_the_error_is_over_prompts_whose_seeds_are_averaged_first() -> None:
    scores = [[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0]]
    mean, error = mean_and_error(table(rows(scores), "score"))
    per_prompt = [1, 0, 1, 0.5]
    assert mean == 0.625
    assert error == pytest.approx(np.std(per_prompt, ddof=1) / 2)


def test_a_second_seed_that_says_the_same_makes_nothing_surer() -> None:
    once, twice = [[1.0, 0.0, 1.0]], [[1.0, 0.0, 1.0]] * 2
    assert mean_and_error(table(rows(once), "score")) == mean_and_error(table(rows(twice), "score"))


def test_one_prompt_has_no_error() -> None:
    assert math.isnan(mean_and_error(np.ones((2, 1)))[1])


def test_one_seed_of_right_and_wrong_is_mcnemars_exact_test() -> None:
    first = [[1.0] * 9 + [0.0] * 2 + [1.0] * 4]
    second = [[0.0] * 9 + [1.0] * 2 + [1.0] * 4]
    (pair,) = compare("t", {"a": rows(first), "b": rows(second)})
    assert (pair.test, pair.wins, pair.losses, pair.ties) == ("mcnemar", 9, 2, 4)
    assert pair.p == pytest.approx(2 * sum(math.comb(11, k) for k in range(3)) / 2**11)
    assert pair.difference == pytest.approx(7 / 15)


def test_several_seeds_are_a_sign_flip_test_over_prompts() -> None:
    gaps = np.array([0.5, 1.0, 0.5, -0.5, 1.0, 0.5])
    second = np.zeros((2, 6))
    first = second + gaps
    (pair,) = compare("t", {"a": rows(first.tolist()), "b": rows(second.tolist())})
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1)
    means = (signs.T * gaps).mean(1)
    exact = (np.abs(means) >= abs(gaps.mean()) - 1e-12).mean()
    assert pair.test == "sign flips" and pair.p == pytest.approx(exact)


def test_equal_samplers_do_not_differ() -> None:
    same = rows([[1.0, 0.0, 0.5]])
    (pair,) = compare("t", {"a": same, "b": same})
    assert pair.p == 1.0 and pair.ties == 3


def test_a_difference_of_rounding_is_a_tie() -> None:
    (pair,) = compare("t", {"a": rows([[0.1 + 0.2] * 6]), "b": rows([[0.3] * 6])})
    assert 0.1 + 0.2 != 0.3 and (pair.wins, pair.ties, pair.losses, pair.p) == (0, 6, 0, 1.0)
    assert pair.difference == 0.0


def test_ties_change_no_test_and_few_differences_are_tested_exactly() -> None:
    few, many = [0.5] * 5, [0.5] * 5 + [0.0] * 20
    (alone,) = compare("t", {"a": rows([few]), "b": rows([[0.0] * 5])})
    (among_ties,) = compare("t", {"a": rows([many]), "b": rows([[0.0] * 25])})
    assert alone.p == among_ties.p == 2 / 2**5 and among_ties.ties == 20
    (single,) = compare("t", {"a": rows([[0.5, 0.0]]), "b": rows([[0.0, 0.0]])})
    assert single.p == 1.0


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
    assert binomtest(5, 5).pvalue == 0.0625  # the two-sided test that `compare` relies on


def test_order_density_of_a_left_to_right_row_is_the_diagonal() -> None:
    density = order_density([{"order": [-1, 0, 1, 2]}] * 3)
    assert density[0].sum() == 0
    assert (density[1:, :] == np.eye(3)).all()


def test_fifths_by_uncertainty_and_their_correlation() -> None:
    some = [{"uncertainty": float(i), "score": float(i < 5)} for i in range(10)]
    uncertainty, score = grouped(some)
    assert uncertainty.tolist() == [0.5, 2.5, 4.5, 6.5, 8.5] and score.tolist() == [1, 1, 0.5, 0, 0]
    assert pearson(some) == pytest.approx(np.corrcoef(range(10), [1] * 5 + [0] * 5)[0, 1])
    assert math.isnan(pearson([{"uncertainty": 1.0, "score": 1.0}] * 4))
