"""The options of the engine `ray` are checked before Ray begins, and what does not fit the model is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
from click.testing import CliRunner

import mdmkit
from mdmkit.cli import main
from mdmkit.config.compose import instantiate
from mdmkit.decoding.engine import as_engine
from mdmkit.installed.registry import default
from mdmkit_ray.engine import Ray
from mdmkit_ray.versions import differences, versions


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was begun"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "workers=0: it is a number from 1"),
        ({"workers": 1.5}, "engine.workers must be a whole number"),
        ({"gpus_per_worker": -1}, "a whole number from 0, or a share below 1, such as 0.5"),
        ({"gpus_per_worker": 1.5}, "gpus_per_worker=1.5: it is a whole number"),
        ({"address": "ray://head:10001"}, "it is local, auto, or HOST:PORT of the cluster's head"),
        ({"address": "head"}, "it is local, auto, or HOST:PORT"),
        ({"gpus": 1}, "unknown engine 'ray' parameter 'gpus'. Parameters: address, gpus_per_worker, workers"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(mdmkit.MdmkitError, match=said):
        as_engine({"name": "ray", **options})


@pytest.mark.parametrize("options", [{}, {"gpus_per_worker": 0.25}, {"address": "10.0.0.1:6379"}, {"address": "auto"}])
def test_the_options_of_ray_are_taken(options: dict[str, Any]) -> None:
    engine = instantiate(default().find("engine", "ray"), {"workers": 3, **options}, default())
    assert engine == Ray(workers=3, **options)


@pytest.mark.parametrize(
    ("device", "gpus", "given"), [("cpu", None, 0), ("cpu", 0, 0), ("cuda", None, 1), ("cuda:1", 0.5, 0.5)]
)
def test_a_worker_gets_a_gpu_if_the_model_is_on_one(device: str, gpus: float | None, given: float) -> None:
    recipe = mdmkit.Recipe({}, "zoo:puzzles", {}, device, "auto", (), 1)
    assert Ray(gpus_per_worker=gpus)._gpus(recipe) == given


def test_a_worker_without_the_models_device_is_refused(tmp_path: Path) -> None:
    words = ["decode", "--model", "zoo:puzzles", "--sampler", "confidence", "--prompt", "7*8=____", "--engine", "ray"]
    output = tmp_path / "out.jsonl"
    result = CliRunner().invoke(main, [*words, "--gpus-per-worker", "1", "--output", str(output)])
    assert result.exit_code == 2
    assert "gpus_per_worker=1, but the model is on the CPU" in " ".join(result.stderr.split())
    with pytest.raises(mdmkit.MdmkitError, match="gpus_per_worker=0, but the model is on a GPU"):
        Ray(gpus_per_worker=0)._gpus(mdmkit.Recipe({}, "zoo:puzzles", {}, "cuda", "auto", (), 1))


def test_an_address_where_nobody_answers_is_refused_at_once() -> None:
    sampler, backbone = mdmkit.compose("confidence"), mdmkit.load("zoo:puzzles")
    with pytest.raises(mdmkit.MdmkitError, match=r"address=127\.0\.0\.1:1: Ray cannot be reached: .* refused"):
        mdmkit.decode(sampler, backbone, ["7*8=____"], engine={"name": "ray", "address": "127.0.0.1:1"})


def test_versions_are_compared_if_both_sides_have_them() -> None:
    here = versions()
    assert {"mdmkit", "mdmkit-ray", "mdmkit-zoo", "torch"} <= set(here)
    assert not any(":" in name or "+" in version for name, version in here.items())
    assert differences({**here, "mdmkit-of-mine": "1"}, here) == ""
    assert differences(here, {**here, "mdmkit-zoo": "9.0"}) == f"mdmkit-zoo is 9.0 there, and {here['mdmkit-zoo']} here"
