"""`zoo:bigram` speaks English, refuses words it does not know, and keeps the contract of a backbone."""

import pytest
import torch

from mdmkit import MdmkitError, Plan, Prompt
from mdmkit.testing import BackboneContract
from mdmkit_zoo.bigram.backbone import Bigram
from mdmkit_zoo.bigram.smoothing import witten_bell
from mdmkit_zoo.bigram.text import join, split
from mdmkit_zoo.zoo import Zoo

SENTENCE = "in the beginning _ _ _ _ _ _ and the earth"


@pytest.fixture(scope="module")
def english() -> Bigram:
    model = Zoo.load("bigram", device="cpu", dtype="float32")
    assert isinstance(model, Bigram)
    return model


class TestEnglish(BackboneContract):
    prompts = (SENTENCE, "the king of", {"prompt": "he said", "length": 3})

    @pytest.fixture
    def backbone(self, english: Bigram) -> Bigram:
        return english


class TestTinyChain(BackboneContract):
    prompts = ("w0 _ _ w3", "w1")

    @pytest.fixture
    def backbone(self) -> Bigram:
        return Bigram(torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.7, 0.1, 0.1, 0.1], [0.25] * 4]))


def test_the_shipped_chain_has_2000_words_and_proper_rows(english: Bigram) -> None:
    assert len(english.words) == len(set(english.words)) == 2000
    assert (english.vocab, english.mask_id, english.length) == (2001, 2000, 16)
    torch.testing.assert_close(english.chain.transitions.sum(1), torch.ones(2000), atol=1e-5, rtol=0.0)
    assert english.chain.transitions.min() > 0
    the, in_ = english.ids["the"], english.ids["in"]
    assert english.chain.transitions[in_, the].item() == pytest.approx(0.3624, abs=1e-4)


def test_marginals_are_probabilities(english: Bigram) -> None:
    canvas, _ = english.encode([Prompt(text=SENTENCE)], Plan())
    p = english.forward(canvas.tokens, canvas.valid, None, positions=canvas.positions).hidden.exp()
    torch.testing.assert_close(p.sum(-1), torch.ones(1, 12), atol=1e-5, rtol=0.0)


def test_the_best_completion_is_english(english: Bigram) -> None:
    tokens = torch.tensor([english.tokens(SENTENCE)])
    best, score = english.chain.viterbi(tokens)
    assert english.text(best[0].tolist()) == "in the beginning of the children of israel, and the earth"
    others = english.chain.sample(tokens, 50, seed=0)[0]
    assert (english.chain.log_likelihood(others) <= score + 1e-3).all()


def test_an_unknown_word_is_named_with_its_neighbours(english: Bigram) -> None:
    with pytest.raises(MdmkitError, match=r"prompt 3: 'kingg' is not among the 2000 words.*king"):
        english.encode([Prompt(text="the kingg _", index=3)], Plan())


def test_infill_gives_the_whole_line_and_continuation_only_what_is_new(english: Bigram) -> None:
    canvas, _ = english.encode([Prompt(text="the king, _"), Prompt(text="the king", length=2)], Plan())
    assert english.decode(canvas) == ["the king, _", "_ _"]
    assert canvas.tokens[0].tolist() == english.tokens("the king , _")


def test_text_splits_and_joins() -> None:
    assert split("Don’t go,  __ MOTHER-IN-LAW!") == ["don't", "go", ",", "_", "_", "mother-in-law", "!"]
    assert join(["don't", "go", ",", "_", "!"]) == "don't go, _!"
    assert split("10% of") == ["10", "%", "of"]


def test_witten_bell_by_hand() -> None:
    """After word 0 came word 1 three times and word 2 once: two kinds, four counts; word 2 was never followed."""
    first, second, count = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 0]), torch.tensor([3, 1, 5])
    got = witten_bell(first, second, count, torch.tensor([5, 3, 2]))
    want = torch.tensor(
        [
            [(0 + 2 * 0.5) / 6, (3 + 2 * 0.3) / 6, (1 + 2 * 0.2) / 6],
            [(5 + 1 * 0.5) / 6, (0 + 1 * 0.3) / 6, (0 + 1 * 0.2) / 6],
            [0.5, 0.3, 0.2],
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(got, want, atol=1e-12, rtol=0.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_coarse_numbers_are_refused(dtype: str) -> None:
    with pytest.raises(MdmkitError, match=f"not possible in '{dtype}': use auto, float32, float64"):
        Zoo.load("bigram", device="cpu", dtype=dtype)


def test_float64_is_kept() -> None:
    model = Bigram(torch.full((4, 4), 0.25, dtype=torch.float64))
    tokens = torch.full((1, 3), model.mask_id)
    assert model.forward(tokens, tokens > 0, None, positions=tokens).hidden.dtype == torch.float64
