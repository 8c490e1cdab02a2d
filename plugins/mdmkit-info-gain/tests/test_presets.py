"""The presets hold the paper's numbers, and say where each is from."""

import pytest

from mdmkit.config.resolution import resolve
from mdmkit.installed.registry import Registry
from mdmkit_info_gain.plugin import PRESETS

REGISTRY = Registry()
# Token temperature, length, block, position temperature, bypass, cache: arXiv:2602.18176 and its authors' scripts.
NUMBERS = {
    "gsm8k": (0.0, 256, 16, 0.1, 0.8, "auto"),
    "math500": (0.0, 512, 16, 0.1, 0.8, "auto"),
    "humaneval": (0.0, 256, 16, 0.1, 0.8, "auto"),
    "mbpp": (0.0, 256, 16, 0.1, 0.8, "auto"),
    "sudoku": (0.0, None, 16, 0.1, 0.8, "auto"),
    "countdown": (0.0, 48, 48, 0.1, 0.8, "auto"),
    "gsm8k_sdar": (0.7, 512, 16, 0.1, 0.8, "block"),
    "math500_sdar": (0.7, 256, 16, 0.1, 0.8, "block"),
    "humaneval_sdar": (0.7, 256, 16, 0.1, 0.8, "block"),
    "mbpp_sdar": (0.7, 256, 16, 0.1, 0.8, "block"),
    "gsm8k_llada": (0.0, 256, 32, 0.2, 0.8, "prefix"),
    "writing": (1.0, 512, 16, 0.1, 0.8, "block"),
    "t2i": (1.0, None, None, 0.4, None, "auto"),
}


def test_every_task_of_the_paper_has_a_preset():
    assert {name for name in PRESETS if "@" in name} == {f"info_gain@{task}" for task in NUMBERS}


@pytest.mark.parametrize("task", NUMBERS)
def test_a_task_has_the_paper_s_numbers(task):
    config = resolve(f"info_gain@{task}", registry=REGISTRY).config
    plan, draw, select = config["plan"], config["draw"], config["select"]
    numbers = (draw["temperature"], plan["length"], plan["block"], select["position_temperature"], select["bypass"])
    assert (*numbers, config["cache"]) == NUMBERS[task]
    assert (config["score"]["name"], select["candidates"], config["lookahead"]["scope"]) == ("confidence", 8, "block")
    if task == "t2i":
        assert (plan["steps"], plan["schedule"], config["guidance"]["scale"]) == (50, "cosine", 3.5 + 1)
    else:
        assert (plan["tokens_per_step"], draw["end_penalty"]) == (1, 4.0)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_where_it_is_from_and_when_to_use_it(name):
    about = resolve(name, registry=REGISTRY).config["about"]
    assert about["arxiv"] == ["2602.18176"]
    assert all(about[key] for key in ("paper", "setting", "when"))
    assert ("@" not in name) or about["changed"]
