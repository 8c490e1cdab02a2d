"""Info-Gain on a grid: cells of one step lie apart in both directions, whichever alternative is taken."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).parent))
import tiny

import mdmkit


class Actions(mdmkit.Observer):
    def __init__(self) -> None:
        self.seen: list[tuple[Any, Any]] = []

    def on_step(self, step: Any, actions: Any, choice: Any) -> None:
        self.seen.append((actions.place, actions.live))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> mdmkit.Backbone:
    folder = tmp_path_factory.mktemp("models") / "maskgit"
    folder.mkdir()
    return mdmkit.load(str(tiny.write_maskgit(folder)), device="cpu")


def first(model: mdmkit.Backbone, **select: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What the first step proposes, place bool [N, h, w] and live bool [N], and that the decode comes to an end."""
    watch = Actions()
    options = {"candidates": 6, "position_temperature": 5.0, "bypass": None} | select
    sampler = mdmkit.compose("info_gain", select=options, plan={"tokens_per_step": 3, "block": None})
    done = mdmkit.decode(sampler, model, ["cat"], observers=[watch])
    assert min(done.rows[0].order) == 0 and len(done.rows[0].tokens) == 16
    place, live = watch.seen[0]
    return place[0].unflatten(-1, (4, 4)), live[0]


def least_distance(place: torch.Tensor) -> int:
    cells = place.nonzero()
    apart = (cells[:, None] - cells[None]).abs().amax(-1)
    return int(apart[~torch.eye(len(cells), dtype=torch.bool)].min())


def test_cells_of_one_step_lie_apart(model: mdmkit.Backbone) -> None:
    place, live = first(model, spacing=2)
    assert [least_distance(one) >= 2 for one in place[live]] == [True] * int(live.sum())
    free, live = first(model, spacing=1)
    assert min(least_distance(one) for one in free[live]) == 1


def test_alternatives_have_less_in_common(model: mdmkit.Backbone) -> None:
    place, live = first(model, overlap=0.3)
    kept = place[live].flatten(1).long()  # at temperature 0 equal cells have equal tokens
    common = kept @ kept.T
    assert int(common.fill_diagonal_(0).max()) == 0  # of three cells one is more than the share
    _, without = first(model)
    assert 1 < int(live.sum()) < int(without.sum())
