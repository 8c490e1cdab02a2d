"""Halton's order and MaskGIT's annealed noise."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch

from mdmkit import MdmkitError
from mdmkit.testing import ScoreContract
from mdmkit.testing.steps import make_moment
from mdmkit_image.scores import Halton, MaskGit, halton_rank


class TestHalton(ScoreContract):
    component = Halton


class TestHaltonRolled(ScoreContract):
    def make(self) -> Any:
        return Halton(roll=True)


class TestMaskGit(ScoreContract):
    component: ClassVar[Any] = MaskGit


def test_the_first_cells_are_the_sequences_own() -> None:
    """Points 1 to 4 are (x, y) = (1/2, 1/3), (1/4, 2/3), (3/4, 1/9), (1/8, 4/9), worked out by hand."""
    rank = halton_rank(9, 8).view(9, 8)
    first = [divmod(int((rank == i).nonzero()[0, 0] * 8 + (rank == i).nonzero()[0, 1]), 8) for i in range(4)]
    assert first == [(3, 4), (6, 2), (1, 6), (4, 1)]


@pytest.mark.parametrize("grid", [(1, 1), (4, 6), (5, 3), (32, 32)])
def test_every_cell_comes_once(grid: tuple[int, int]) -> None:
    assert sorted(halton_rank(*grid).tolist()) == list(range(grid[0] * grid[1]))


def test_cells_of_one_step_lie_apart() -> None:
    """Of the first 16 cells of a 16 x 16 grid each quarter gets four, give or take one."""
    first = (halton_rank(16, 16) < 16).view(2, 8, 2, 8).sum((1, 3)).flatten()
    assert first.tolist() == pytest.approx([4, 4, 4, 4], abs=1)


def test_without_a_grid_digits_are_reversed() -> None:
    step = make_moment(0).step()
    order = Halton()(step).gather(1, step.position.argsort(1)).argsort(1, descending=True)
    spread = {int(p): -int(f"{int(p):020b}"[::-1], 2) for p in step.position.flatten()}
    expected = torch.tensor([[spread[int(p)] for p in row] for row in step.position]).float()
    assert torch.equal(Halton()(step), expected)
    assert order.shape == step.position.shape


def test_noise_fades_by_the_steps_and_is_gone_in_the_last() -> None:
    from dataclasses import replace

    step = make_moment(1).step()
    plain = step.confidence.log()

    def noise_at(taken: int) -> torch.Tensor:
        moment = replace(step, plan=replace(step.plan, steps=4, tokens_per_step=None))
        moment = replace(moment, taken=torch.full_like(step.taken, taken))
        drawn = -torch.log(-torch.log(moment.noise("maskgit", 1)[:, 0]))
        torch.testing.assert_close(
            MaskGit(3.0)(moment) - moment.confidence.log(),
            (3.0 * (1 - (taken + 1) / 4) * drawn).float(),
            atol=1e-5,
            rtol=1e-5,
        )
        return MaskGit(3.0)(moment) - moment.confidence.log()

    assert noise_at(0).abs().mean() > noise_at(2).abs().mean() > 0
    assert noise_at(3).abs().max() == pytest.approx(0, abs=1e-6)
    assert plain.isfinite().all()


@pytest.mark.parametrize("temperature", [-1.0, math.inf])
def test_a_temperature_that_is_none(temperature: float) -> None:
    with pytest.raises(MdmkitError, match="temperature"):
        MaskGit(temperature)
