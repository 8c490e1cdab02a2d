"""Windows: gathered, written into, and cut off at the last column."""

from __future__ import annotations

import pytest
import torch

from mdmkit.canvas.window import Window

X = torch.arange(24).view(2, 12)


@pytest.mark.parametrize("spans", [[(3, 7), (3, 5)], [(0, 4), (6, 8)], [(8, 12), (9, 12)]])
def test_a_window_gathers_each_rows_own_columns(spans):
    where = Window.of(spans, torch.device("cpu"))
    assert where.width == max(stop - start for start, stop in spans)
    for row, (start, stop) in enumerate(spans):
        assert where(X)[row][where.member[row]].tolist() == X[row, start:stop].tolist()
    deep = torch.stack((X, -X), -1)
    assert torch.equal(where(deep)[..., 1], -where(X))


@pytest.mark.parametrize("spans", [[(3, 7), (3, 5)], [(0, 4), (6, 8)]])
def test_what_is_put_into_a_window_changes_the_rows_own_columns_only(spans):
    where = Window.of(spans, torch.device("cpu"))
    out = where.put(X, torch.full((2, 4), -1))
    for row, (start, stop) in enumerate(spans):
        expected = X[row].tolist()
        expected[start:stop] = [-1] * (stop - start)
        assert out[row].tolist() == expected
    assert X[0, 3] == 3, "the input stays"
    again = X.clone()
    where.write(again, where.member, torch.full((2, 4), -1))
    assert torch.equal(again, out)


def test_a_window_that_reaches_beyond_the_last_column_reads_nobodys_there():
    where = Window.of([(0, 12), (10, 12)], torch.device("cpu"))
    assert where(X)[1][where.member[1]].tolist() == [22, 23]
    assert not where.member[1, 2:].any()
