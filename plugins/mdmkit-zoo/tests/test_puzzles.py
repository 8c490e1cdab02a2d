"""The puzzles: every text is right, judges are strict, the judged split is never trained on."""

import itertools

import numpy as np
import pytest

from mdmkit import MdmkitError
from mdmkit_zoo.puzzles import texts
from mdmkit_zoo.puzzles.tokenizer import MASK_ID, VOCABULARY, build_tokenizer
from mdmkit_zoo.puzzles.train import SAMPLES, Examples, _mask, _text


def test_there_are_as_many_texts_as_arithmetic_says():
    grids = texts.sudoku_texts()
    assert len(set(grids)) == len(grids) == 288
    assert len(set(texts.one_way_texts())) == 64
    assert len(set(texts.countdown_texts())) == len(texts.countdown_texts())


@pytest.mark.parametrize("task", texts.TASKS)
def test_every_text_has_one_width_and_passes_its_judge(task):
    lines = texts.texts(task)
    assert len({len(line) for line in lines}) == 1
    assert all(texts.judge(task, line, line) for line in lines)


WRONG = {
    "sudoku4": ["1234/3412/2143/4322", "1234/2143/3412/4321", "1234/1234/1234/1234", "1234/3412/2143"],
    "countdown": [
        "3,8,7>12:8-3=05,05+07=13",  # misses the target
        "3,8,7>12:8-3=06,06+06=12",  # wrong arithmetic, a number not given
        "3,8,7>12:8+4=12,12+00=12",  # numbers not given
        "3,8,7>12:3+8=11,11+01=12",  # the last number is not the one left
        "3,8,7>12:8-3=05,07+05=13",
        "3,8,7>12:3-8=05,05+07=12",  # 3-8 is not 5
        "3,3,9>12:3+9=12,12-00=12",  # a given number unused
    ],
    "one_way": ["7*8=0111001", "7*8=1111000", "1*8=0001000", "7*8=011100_"],
}


@pytest.mark.parametrize(("task", "answer"), [(t, a) for t, answers in WRONG.items() for a in answers])
def test_wrong_answers_are_wrong(task, answer):
    assert not texts.judge(task, "_" * len(answer), answer)


def test_either_order_of_the_last_two_operands_counts():
    assert texts.judge("countdown", "_" * 24, "3,8,7>12:8-3=05,07+05=12")
    assert texts.judge("countdown", "_" * 24, "5,9,4>04:9-5=04,04+00=04") is False
    assert texts.judge("countdown", "_" * 24, "2,2,4>08:2+2=04,04+04=08")


def test_an_answer_that_changes_a_given_is_wrong():
    assert not texts.judge("sudoku4", "2___/____/____/____", "1234/3412/2143/4321")
    assert texts.judge("sudoku4", "1___/____/____/____", "1234/3412/2143/4321")


@pytest.mark.parametrize("task", texts.TASKS)
def test_instances_come_from_their_seed_and_can_be_solved(task):
    first = texts.instances(task, 30, 5)
    assert first == texts.instances(task, 30, 5)
    lines = texts.texts(task)
    for prompt in first:
        assert any(all(p in ("_", c) for p, c in zip(prompt, line, strict=True)) for line in lines)
    if task != "one_way":
        assert len(set(first)) == 30
        assert first != texts.instances(task, 30, 6)
        assert all(texts.held_out(task, prompt) for prompt in first)


def test_more_prompts_than_there_are_is_refused():
    assert texts.available("countdown") == 309
    assert len(texts.instances("countdown", 309, 0)) == 309
    with pytest.raises(MdmkitError, match="310 held-out countdown prompts were asked for, and there are 309"):
        texts.instances("countdown", 310, 0)


def test_trained_prompts_are_none_of_the_judged():
    assert not any(texts.held_out("countdown", p) for p in texts.instances("countdown", 40, 1, trained=True))


def test_sudokus_have_four_to_ten_givens():
    assert {sum(c in "1234" for c in p) for p in texts.instances("sudoku4", 300, 0)} == set(range(4, 11))


@pytest.mark.parametrize("task", ["sudoku4", "countdown"])
def test_training_never_shows_a_held_out_puzzle(task):
    width = max(len(texts.texts(t)[0]) for t in texts.TASKS)
    examples, rng = Examples(task, width, 0.6), np.random.default_rng(0)
    for _ in range(40):
        ids, masked = examples.draw(64, rng)
        assert masked.any(1).all()
        for row, cover in zip(ids, masked, strict=True):
            if task == "sudoku4":
                assert not texts.held_out(task, _text(row, cover))
            else:
                assert not texts.held_out(task, "".join(VOCABULARY[i] for i in row))


def test_masks_cover_what_varies_at_every_rate():
    maskable = np.tile(np.array([True, False, True, True]), (500, 1))
    covered = _mask(maskable, np.random.default_rng(0))
    assert not covered[:, 1].any()
    assert set(covered.sum(1)) == {1, 2, 3}


def test_the_tokenizer_reads_one_token_per_character():
    tokenizer = build_tokenizer()
    for text in itertools.chain(SAMPLES, ["3,8,7>12:8-3=05,05+07=12"]):
        ids = tokenizer(text)["input_ids"]
        assert len(ids) == len(text)
        assert [i == MASK_ID for i in ids] == [c == "_" for c in text]
        assert tokenizer.decode(ids) == text


def test_samples_are_held_out():
    sudoku, countdown, _ = SAMPLES
    assert texts.held_out("sudoku4", sudoku)
    assert texts.held_out("countdown", countdown)
