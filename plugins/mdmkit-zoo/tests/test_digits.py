"""zoo:digits loads through the ordinary path, draws what was asked for, and its recipe runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")

import mdmkit
from mdmkit_zoo.catalogue import ENTRIES
from mdmkit_zoo.digits import train
from mdmkit_zoo.digits.data import Digits
from mdmkit_zoo.digits.judge import load_judge, save_judge, tensor_of, train_judge


@pytest.fixture(scope="module")
def model() -> Any:
    return mdmkit.load("zoo:digits", device="cpu")


def test_the_best_sampler_draws_the_digits_that_were_asked_for(model: Any) -> None:
    sampler = mdmkit.compose(
        "confidence", plan={"steps": 8, "schedule": "cosine"}, draw={"temperature": 1.0}, guidance={"scale": 2.0}
    )
    done = mdmkit.decode(sampler, model, [str(i % 10) for i in range(50)])
    seen = load_judge()(tensor_of(done.texts)).argmax(1)
    assert (seen == torch.arange(50) % 10).float().mean() >= 0.8
    assert done.texts[0].size == (32, 32)


def test_it_fits_the_package_and_says_what_it_lacks() -> None:
    assert ENTRIES["digits"].megabytes < 8
    with pytest.raises(mdmkit.MdmkitError, match="unknown class 'three'"):
        mdmkit.decode(mdmkit.compose("confidence"), mdmkit.load("zoo:digits", device="cpu"), ["three"])


def test_the_recipe_runs_and_is_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    data = Digits(torch.rand(140, 1, 32, 32), torch.arange(140) % 10)
    monkeypatch.setattr(train, "digits", lambda: (data, data))
    monkeypatch.setattr("mdmkit_zoo.digits.judge.STEPS", 2)
    recipe = train.Recipe(plain_steps=1, code_steps=1, vq_batch=2, steps=2, batch=2, hidden=16, heads=2, layers=1)
    told = []
    for name in ("a", "b"):
        train.train(tmp_path / name, recipe, report=lambda stage, step, loss: told.append((stage, step, loss)))
    assert told[:4] == told[4:]
    first, second = (tmp_path / name / "transformer" / "diffusion_pytorch_model.safetensors" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    made = mdmkit.load(str(tmp_path / "a"), device="cpu")
    assert made.names == tuple("0123456789")
    assert mdmkit.decode(mdmkit.compose("confidence"), made, ["3"]).texts[0].size == (32, 32)


def test_a_judge_is_kept_with_the_statistics_of_real_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdmkit_zoo.digits.judge.STEPS", 2)
    torch.manual_seed(0)
    data = Digits(torch.rand(20, 1, 32, 32), torch.arange(20) % 10)
    judge = train_judge(data, data.images)
    save_judge(judge, tmp_path, data)
    again = load_judge(tmp_path)
    assert torch.equal(again(data.images), judge(data.images))
    from safetensors.torch import load_file

    known = load_file(tmp_path / "judge" / "real.safetensors")
    features = judge.features(data.images).double()
    torch.testing.assert_close(known["mean"], features.mean(0))
    assert known["covariance"].shape == (64, 64)
