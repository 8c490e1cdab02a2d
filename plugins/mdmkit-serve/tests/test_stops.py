"""Texts that end an answer, and how much of a text is sure before they are seen."""

from __future__ import annotations

import pytest

from mdmkit_serve.stops import cut, sure


@pytest.mark.parametrize(
    ("text", "stops", "before"),
    [("abcd", ["cd"], "ab"), ("abcd", ["d", "bc"], "a"), ("abcd", ["x"], None), ("", ["x"], None), ("xa", ["x"], "")],
)
def test_a_text_is_cut_before_the_first_stop_in_it(text: str, stops: list[str], before: str | None) -> None:
    assert cut(text, stops) == before


@pytest.mark.parametrize(
    ("text", "stops", "count"),
    [
        ("abc", [], 3),
        ("abc", ["cd"], 2),
        ("abc", ["x", "bcd"], 1),
        ("abc", ["abcd"], 0),
        ("aba", ["aba!"], 0),
        ("xab", ["b"], 3),
    ],
)
def test_the_beginning_of_a_stop_is_held_back(text: str, stops: list[str], count: int) -> None:
    assert sure(text, stops) == count


def test_what_is_held_back_is_all_that_a_stop_can_take() -> None:
    """Letter by letter, what is sure is never more than what stays of the whole text."""
    whole, stops = "abababxabab!y", ["abab!", "xx"]
    end = cut(whole, stops)
    assert end == "abababx"
    for n in range(len(whole)):
        if cut(whole[:n], stops) is None:
            assert end.startswith(whole[: sure(whole[:n], stops)])
