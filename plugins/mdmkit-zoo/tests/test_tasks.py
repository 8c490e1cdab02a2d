"""The zoo's tasks: prompts from a seed, and verdicts that are known."""

from __future__ import annotations

import math

import pytest
import torch

import mdmkit
from mdmkit_zoo.tasks import TRASTUZUMAB, Antibody, BigramLikelihood, Countdown, OneWay, Sudoku4


@pytest.mark.parametrize("task", [Sudoku4(), Countdown(), OneWay(), Antibody(), BigramLikelihood()])
def test_prompts_come_from_the_seed_and_fit_the_model(task) -> None:
    assert list(task.prompts(4, 1)) == list(task.prompts(4, 1))
    assert task.name == "one_way" or list(task.prompts(4, 1)) != list(task.prompts(4, 2))
    assert len(task.prompts(None, 0)) == task.limit
    task.check(mdmkit.load(task.model))
    other = "zoo:antibody" if task.model == "zoo:puzzles" else "zoo:puzzles"
    with pytest.raises(mdmkit.MdmkitError, match=f"It is for {task.model}"):
        task.check(mdmkit.load(other))


@pytest.mark.parametrize(
    ("task", "prompt", "answer", "right"),
    [
        (Sudoku4(), "___4/3___/1__2/____", "2134/3421/1342/4213", True),
        (Sudoku4(), "___4/3___/1__2/____", "2143/3421/1342/4213", False),  # a given was changed
        (Sudoku4(), "___4/3___/1__2/____", "2134/3421/1342/4231", False),
        (Sudoku4(), "___4/3___/1__2/____", "2134/3421/1342", False),
        (Countdown(), "3,4,9>08:___=__,___0_=__", "3,4,9>08:3+9=12,12-04=08", True),
        (Countdown(), "3,4,9>08:___=__,___0_=__", "3,4,9>08:4+4=08,08-00=08", False),  # numbers not given
        (Countdown(), "3,4,9>08:___=__,___0_=__", "3,4,9>08:3+9=12,12-03=08", False),
        (OneWay(), "_*_=_______", "7*8=0111000", True),
        (OneWay(), "_*_=_______", "7*8=0111001", False),
    ],
)
def test_puzzles_are_judged_by_rules_and_givens(task, prompt: str, answer: str, right: bool) -> None:
    assert task.judge(prompt, answer) is right


def test_recovery_is_the_share_of_hidden_residues() -> None:
    task = Antibody(hidden=0.1)
    prompt = task.prompts(1, 3)[0]
    assert prompt.count("_") == round(0.1 * len(TRASTUZUMAB))
    assert task.judge(prompt, TRASTUZUMAB) == 1.0
    first = prompt.index("_")
    wrong = TRASTUZUMAB[:first] + ("A" if TRASTUZUMAB[first] != "A" else "G") + TRASTUZUMAB[first + 1 :]
    assert task.judge(prompt, wrong) == pytest.approx(1 - 1 / prompt.count("_"))
    assert task.judge(prompt, TRASTUZUMAB[1:]) == 0.0


def test_a_filling_is_scored_by_its_exact_likelihood_given_the_rest() -> None:
    """Against the chain rule, word by word; and over all fillings of one mask the probabilities sum to 1."""
    task = BigramLikelihood(words=6, hidden=0.5)
    prompt = task.prompts(1, 0)[0]
    model = mdmkit.load("zoo:bigram")
    best, _ = model.chain.viterbi(torch.tensor([model.tokens(prompt)]))
    verdict = task.judge(prompt, model.text(best[0].tolist()))
    assert verdict["gap"] == pytest.approx(0, abs=1e-4)
    tokens, total = model.tokens(prompt), 0.0
    filled = list(best[0].tolist())
    for place in [i for i, token in enumerate(tokens) if token == model.mask_id]:
        total += float(model.chain.marginals(torch.tensor([tokens]))[0, place, filled[place]])
        tokens[place] = filled[place]
    assert verdict["score"] == pytest.approx(total / 3, abs=1e-4)
    one = " ".join("_" if i == 1 else "the" for i in range(3))
    each = [task.judge(one, f"the {word} the")["score"] for word in model.words[:40]]
    logp = model.chain.marginals(torch.tensor([model.tokens(one)]))[0, 1, :40]
    assert each == pytest.approx(logp.tolist(), abs=1e-3) and math.exp(max(each)) < 1


def test_an_answer_that_is_no_filling_scores_below_every_filling() -> None:
    task = BigramLikelihood()
    assert task.judge("the _ the", "the and the")["score"] > -100
    for answer in ("", "the and", "the _ the", "and and the", "the qqq the"):
        verdict = task.judge("the _ the", answer)
        assert verdict["score"] == -100 and verdict["gap"] > 0
