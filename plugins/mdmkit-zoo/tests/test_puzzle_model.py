"""The shipped puzzle model does what its page says, and is what its recipe makes."""

import json
from dataclasses import asdict

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import mdmkit
from mdmkit.cli import main
from mdmkit_zoo.catalogue import ENTRIES
from mdmkit_zoo.demo import demo
from mdmkit_zoo.puzzles import texts
from mdmkit_zoo.puzzles.page import numbers, page
from mdmkit_zoo.puzzles.results import VARIANTS, composed, factors_first, measure, product_given_factors, trial
from mdmkit_zoo.puzzles.train import SAMPLES, Recipe, build_model, train


@pytest.fixture(scope="module")
def backbone():
    return mdmkit.load("zoo:puzzles", device="cpu")


def test_held_out_sudokus_are_solved(backbone):
    prompts = texts.instances("sudoku4", 60, 7)
    solved = mdmkit.decode(mdmkit.compose("confidence"), backbone, prompts).texts
    assert sum(map(texts.judge, ["sudoku4"] * 60, prompts, solved)) >= 57


def test_products_are_right_given_both_factors(backbone):
    assert product_given_factors(backbone) >= 0.95


def test_info_gain_solves_held_out_countdowns(backbone):
    prompts = texts.instances("countdown", 60, 7)
    solved = mdmkit.decode(composed("info_gain", "countdown", 1), backbone, prompts).texts
    assert sum(map(texts.judge, ["countdown"] * 60, prompts, solved)) >= 48


def test_the_shipped_files_fit_and_are_the_recipe_s(backbone):
    folder = ENTRIES["puzzles"].folder
    assert (folder / "model.safetensors").stat().st_size < 8e6
    stated, recipe = json.loads((folder / "recipe.json").read_text()), asdict(Recipe())
    assert {key: stated[key] for key in recipe} == json.loads(json.dumps(recipe))
    weights = load_file(folder / "model.safetensors")
    assert {k: v.shape for k, v in weights.items()} == {
        k: v.shape for k, v in build_model(Recipe()).state_dict().items()
    }
    assert backbone.samples == list(SAMPLES) or tuple(backbone.samples) == SAMPLES


def test_training_is_seeded_and_what_it_writes_decodes(tmp_path):
    recipe = Recipe(steps=3, batch=12, hidden=32, heads=2, layers=1, feed_forward=32, warmup=1)
    losses: list[float] = []
    first = train(tmp_path / "a", recipe, report=lambda step, loss: losses.append(loss))
    second = train(tmp_path / "b", recipe)
    assert len(losses) == 3
    for name, tensor in load_file(first / "model.safetensors").items():
        assert torch.equal(tensor, load_file(second / "model.safetensors")[name])
    rows = mdmkit.decode(mdmkit.compose("confidence"), mdmkit.load(str(first)), list(SAMPLES)).rows
    assert all("_" not in row.text for row in rows)


def test_the_demo_solves_its_sudoku_and_draws_it(tmp_path):
    result = CliRunner().invoke(demo, ["--svg", str(tmp_path / "live.svg")])
    assert result.exit_code == 0
    assert "\nvalid · H̃" in result.stdout
    picture = (tmp_path / "live.svg").read_text()
    assert "</svg>" in picture
    assert "font-face" not in picture
    full = CliRunner().invoke(main, ["zoo", "demo", "--svg", "/dev/full"])
    assert full.exit_code == 2 and "Error: --svg /dev/full: No space left on device." in full.stderr


def test_the_results_page_says_what_was_measured(backbone, monkeypatch):
    monkeypatch.setattr("mdmkit_zoo.puzzles.results.TOKENS_PER_STEP", (2, 4))
    cells = list(measure(backbone, "total", 3, 2, 3, lambda line: None))
    assert {(c.task, c.tokens_per_step) for c in cells} == {(t, k) for t in texts.TASKS for k in (2, 4)}
    assert len({c.sampler for c in cells}) == 7
    for cell in cells:
        fixed = cell.task != "one_way" and cell.sampler in ("left_to_right", "confidence", "entropy", "margin")
        assert len(cell.solved) == (1 if fixed else 2)
        assert 0 <= cell.share <= 1
    trials = trial(backbone, 2, 2, lambda line: None)
    assert set(trials) == set(VARIANTS)
    words = dict.fromkeys(("command", "date", "machine", "torch", "transformers"), "said")
    facts = {"count": 3, "countdown": 3, "seeds": 2, "trial_count": 2, "best": "total", "product": 1.0, **words}
    text = page({"facts": facts, "trials": trials, "cells": [numbers(cell) for cell in cells]})
    assert text.count("| info_gain (total) |") == 6
    assert "100.0 % of the 64 products" in text


def test_factors_first_compares_mean_ticks():
    assert factors_first([0, -1, 1, -1, 2, 3, 4, 5, 6, 7, 8])
    assert not factors_first([7, -1, 8, -1, 0, 1, 2, 3, 4, 5, 6])


def test_a_small_model_says_its_size_and_decodes_on_one_thread(backbone, monkeypatch):
    from mdmkit.cli.run import limit_threads

    weights = load_file(ENTRIES["puzzles"].folder / "model.safetensors")
    assert backbone.weights == sum(tensor.numel() for tensor in weights.values())
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    limit_threads(backbone)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    limit_threads(backbone)  # the user has said how many
    assert asked == [1]
