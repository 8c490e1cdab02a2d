"""Metrics against what can be worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from mdmkit import MdmkitError
from mdmkit_image import metrics


def test_fid_of_two_normals_is_the_closed_form(tmp_path: Path) -> None:
    """Diagonal covariances: |μ₁ − μ₂|² + Σ (σ₁ − σ₂)²."""
    one = (torch.tensor([0.0, 1.0]).double(), torch.diag(torch.tensor([1.0, 4.0]).double()))
    two = (torch.tensor([3.0, 1.0]).double(), torch.diag(torch.tensor([9.0, 4.0]).double()))
    assert metrics.frechet_distance(one, two) == pytest.approx(9 + 4)
    assert metrics.frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    metrics.save_statistics(two, tmp_path / "real.safetensors")
    assert metrics.frechet_distance(one, metrics.load_statistics(tmp_path / "real.safetensors")) == pytest.approx(13)


def test_fid_does_not_hang_on_the_axes() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.randn(50, 4, generator=generator, dtype=torch.float64) @ torch.randn(4, 4, generator=generator).double()
        for _ in range(2)
    )
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator).double())[0]
    plain = metrics.frechet_distance(metrics.statistics(a), metrics.statistics(b))
    turned = metrics.frechet_distance(metrics.statistics(a @ turn), metrics.statistics(b @ turn))
    assert plain == pytest.approx(turned)
    assert plain == pytest.approx(metrics.frechet_distance(metrics.statistics(b), metrics.statistics(a)))


def test_inception_score_counts_classes() -> None:
    """Sure of one class each, four classes evenly: 4. Unsure of all: 1."""
    assert metrics.inception_score(100 * torch.eye(4).repeat(3, 1)) == pytest.approx(4)
    assert metrics.inception_score(torch.zeros(5, 4)) == pytest.approx(1)


def test_precision_and_recall_see_what_is_missing() -> None:
    real = torch.cat((torch.linspace(0, 1, 20), torch.linspace(100, 101, 20)))[:, None]
    half = torch.linspace(0.01, 0.99, 15)[:, None]
    precision, recall = metrics.precision_recall(half, real)
    assert precision == 1.0
    assert recall == pytest.approx(0.5)
    assert metrics.precision_recall(torch.cat((half, half + 1000)), real)[0] == pytest.approx(0.5)


def test_clip_score_is_the_cosine() -> None:
    images, texts = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[2.0, 0.0], [-1.0, -1.0]])
    assert metrics.clip_score(images, texts) == pytest.approx(50)
    assert metrics.clip_score(images, images) == pytest.approx(100)
    assert math.isfinite(metrics.clip_score(images, -images))


def test_too_little_or_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(MdmkitError, match="two images"):
        metrics.statistics(torch.zeros(1, 3))
    with pytest.raises(MdmkitError, match="more images"):
        metrics.precision_recall(torch.zeros(3, 1), torch.zeros(9, 1))
    with pytest.raises(MdmkitError, match="no reference statistics"):
        metrics.load_statistics(tmp_path / "absent.safetensors")
