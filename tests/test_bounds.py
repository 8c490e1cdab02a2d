"""A row that is read again has the text of its own tokens, also if it ended early."""

from __future__ import annotations

import pytest

from mdmkit import Plan, Prompt
from mdmkit.cli.bounds import check_costs, check_text
from mdmkit.testing import ToyBackbone

A, B, C, END = 1, 2, 3, 4


class Cutting(ToyBackbone):
    """Cuts a text at the first end token, unless the row is an infill."""

    ends = (END,)

    def decode(self, canvas):
        texts = super().decode(canvas)
        return [
            text if infill else text.split(self.render(END))[0]
            for text, infill in zip(texts, canvas.infill.tolist(), strict=True)
        ]


class Whole(ToyBackbone):
    ends = (END,)


def check(model, tokens, text, prompt="ab"):
    backbone = model()
    canvas, _ = backbone.encode([Prompt(text=prompt)], Plan(length=4))
    check_text({"tokens": tokens, "text": text}, canvas, backbone)


@pytest.mark.parametrize(
    ("model", "tokens", "prompt"),
    [
        (Whole, [A, B, C, A], "ab"),
        (Whole, [A, END, C, A], "ab"),
        (Cutting, [A, B, C, A], "ab"),
        (Cutting, [A, END, C, A], "ab"),
        (Cutting, [A, B, END], "ab"),  # ended early
        (Cutting, [A, END, C], "ab"),  # a token behind the end, at one of two places
        (Cutting, [A, END, C], "a_c"),
    ],
)
def test_another_text_than_that_of_the_tokens_is_refused(model, tokens, prompt):
    letters = "".join(ToyBackbone().render(token) for token in tokens)
    cut = model is Cutting and prompt == "ab"
    right = letters.split(ToyBackbone().render(END))[0] if cut else letters
    check(model, tokens, right, prompt)
    with pytest.raises(ValueError, match=f"its 'text' is 'ba', and that of its 'tokens' '{right}'"):
        check(model, tokens, "ba", prompt)


@pytest.mark.parametrize(("model", "tokens"), [(Whole, [A, END, C]), (Cutting, [A, B]), (Cutting, [A] * 5)])
def test_a_text_is_not_compared_if_it_is_not_known_where_its_tokens_stood(model, tokens):
    check(model, tokens, "anything")


def test_other_results_than_texts_are_not_compared():
    check(Whole, [A, B, C, A], {"boxes": []})


def test_costs_are_at_most_those_of_the_rows_forwards():
    backbone = ToyBackbone()
    canvas, _ = backbone.encode([Prompt(text="ab")], Plan(length=4))
    row = {"nfe": 4, "row_tokens": 48, "uncertainty": 50.0}
    check_costs(row, canvas, backbone, 0)
    with pytest.raises(ValueError, match="its 'row_tokens' is 49, and 4 forwards of it compute 48 at most"):
        check_costs(row | {"row_tokens": 49}, canvas, backbone, 0)
    with pytest.raises(ValueError, match=r"its 'uncertainty' is 80, and .* nats is the most it can be"):
        check_costs(row | {"uncertainty": 80}, canvas, backbone, 0)
