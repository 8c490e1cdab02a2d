"""How prompts are laid out: what is filled, and what is shown of it."""

from __future__ import annotations

import pytest

from mdmkit import Prompt
from mdmkit.canvas.layout import lay_out

LIMITS = {"mask_id": 9, "pad_id": 0, "vocab": 12, "plan_length": None, "default_length": None, "max_length": None}


@pytest.mark.parametrize(("given", "length", "spare"), [(2, 3, 3), (1, 3, 0), (4, 4, 0), (0, 5, 3)])
def test_a_models_last_block_is_filled_whole_and_what_only_completes_it_is_never_shown(given, length, spare):
    prompt = Prompt(ids=tuple(range(1, given + 1)), length=length)
    canvas = lay_out([prompt], [list(prompt.ids)], [[]], block=4, **LIMITS)
    columns = range(given + length + spare)
    assert canvas.open[0].tolist() == [column >= given for column in columns]
    assert canvas.surplus[0].tolist() == [column >= given + length for column in columns]
    assert canvas.shown[0].tolist() == [given <= column < given + length for column in columns]


def test_an_infill_has_no_columns_but_its_own():
    canvas = lay_out([Prompt(ids=(1, 9, 2))], [[1, 9]], [[2]], block=4, **LIMITS)
    assert canvas.tokens[0].tolist() == [1, 9, 2]
    assert canvas.shown[0].tolist() == [True] * 3 and not canvas.surplus.any()


def test_a_canvas_is_changed_only_in_what_it_has():
    canvas = lay_out([Prompt(ids=(1,), length=2)], [[1]], [[]], **LIMITS)
    assert canvas.changed(open=~canvas.open).open.tolist() == (~canvas.open).tolist()
    with pytest.raises(TypeError, match="no 'opne'"):
        canvas.changed(opne=canvas.open)
