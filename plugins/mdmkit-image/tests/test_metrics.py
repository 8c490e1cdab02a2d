"""Metrics against what can be worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
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


def test_fid_of_float32_statistics_is_that_of_float64() -> None:
    """The traces are near 65,000, so float32 loses all digits of a distance near 0."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(100, 256, generator=generator) @ torch.randn(256, 256, generator=generator)
    known = metrics.statistics(features)
    rounded = (known[0].float(), known[1].float())
    assert known[1].trace() > 60_000
    assert 0 <= metrics.frechet_distance(rounded, rounded) < 0.01
    shifted = (rounded[0] + 2, rounded[1])
    assert metrics.frechet_distance(shifted, rounded) == pytest.approx(256 * 4, abs=0.01)


def test_fid_is_never_below_zero() -> None:
    generator = torch.Generator().manual_seed(1)
    for width in (2, 16, 64):
        known = metrics.statistics(torch.randn(width // 2 + 2, width, generator=generator) * 100)
        assert metrics.frechet_distance(known, known) >= 0


def test_a_covariance_that_is_none_is_refused_in_any_place() -> None:
    good = (torch.zeros(2), torch.eye(2))
    bad = (torch.zeros(2), torch.tensor([[1.0, 2], [2, 1]]))
    for name, pair in (("drawn", (bad, good)), ("real", (good, bad))):
        with pytest.raises(MdmkitError, match=f"{name} statistics: the second tensor is not a covariance"):
            metrics.frechet_distance(*pair)


def test_singular_and_rounded_covariances_are_taken() -> None:
    """Fewer images than features, all of them alike, and float16, which rounds more than any tool."""
    features = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    mean, covariance = metrics.statistics(features)
    assert metrics.frechet_distance((mean, covariance), (mean, covariance.half())) == pytest.approx(0, abs=0.1)
    alike = metrics.statistics(features[:1].repeat(4, 1))
    assert metrics.frechet_distance(alike, alike) == 0


def test_statistics_are_read_as_other_tools_write_them(tmp_path: Path) -> None:
    mu, sigma = np.array([3.0, 1.0]), np.diag([9.0, 4.0])
    np.savez(tmp_path / "theirs.npz", mu=mu, sigma=sigma, arr_0=np.zeros((1, 2)))
    mean, covariance = metrics.load_statistics(tmp_path / "theirs.npz")
    assert mean.tolist() == [3, 1] and covariance.tolist() == [[9, 0], [0, 4]]
    metrics.save_statistics((mean, covariance), str(tmp_path / "ours.npz"))  # a path may also be a text
    assert torch.equal(metrics.load_statistics(str(tmp_path / "ours.npz"))[0], mean)
    with np.load(tmp_path / "ours.npz") as found:
        assert sorted(found) == ["mu", "sigma"]
        assert np.array_equal(found["mu"], mu) and np.array_equal(found["sigma"], sigma)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"mu": np.zeros(2)}, "holds no reference statistics, mu"),
        ({"mu": np.array([{}], dtype=object), "sigma": np.eye(1)}, "holds no reference statistics, mu"),
        ({"mu": np.zeros(3), "sigma": np.eye(2)}, r"a mean \[3\] and a covariance \[2, 2\]"),
        ({"mu": np.zeros(2), "sigma": np.full((2, 2), np.nan)}, "bad.npz statistics hold NaN"),
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 2], [0, 1]])}, "not symmetric"),
        (
            {"mu": np.zeros(3), "sigma": np.diag([1.0, -0.5, 2])},
            r"its diagonal is -0\.5 at feature 1 \(counted from 0\)",
        ),
        ({"mu": np.zeros(2), "sigma": -np.eye(2)}, "its diagonal is -1 at feature 0"),
        (
            {"mu": np.zeros(2), "sigma": np.array([[1.0, 2], [2, 1]])},
            "its eigenvalues go from -1 to 3, and none may be",
        ),
    ],
)
def test_bad_statistics_are_refused_by_their_file(tmp_path: Path, arrays: dict[str, Any], told: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(MdmkitError, match=told) as caught:
        metrics.load_statistics(tmp_path / "bad.npz")
    assert "bad.npz" in str(caught.value)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_rows_that_are_not_finite_are_named(wrong: float) -> None:
    good = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    bad = good.clone()
    bad[5, 1] = wrong
    for measure in (
        lambda: metrics.statistics(bad),
        lambda: metrics.inception_score(bad),
        lambda: metrics.precision_recall(bad, good),
        lambda: metrics.precision_recall(good, bad),
        lambda: metrics.clip_score(bad, good),
        lambda: metrics.clip_score(good, bad),
    ):
        with pytest.raises(MdmkitError, match=r"1 of 9 rows hold NaN or infinity: 5 \(counted from 0\)"):
            measure()
    bad[:, 0] = wrong
    with pytest.raises(MdmkitError, match=r"9 of 9 rows .*: 0, 1, 2, 3, 4 and 4 more"):
        metrics.statistics(bad)


def test_features_of_two_widths_are_refused() -> None:
    narrow, wide = torch.randn(9, 3), torch.randn(9, 4)
    told = "two widths: 3 of the drawn images and 4 of the real ones"
    with pytest.raises(MdmkitError, match=told):
        metrics.frechet_distance(metrics.statistics(narrow), metrics.statistics(wide))
    with pytest.raises(MdmkitError, match=told):
        metrics.precision_recall(narrow, wide)
    with pytest.raises(MdmkitError, match=r"\[9, 3\] of images and \[9, 4\] of texts"):
        metrics.clip_score(narrow, wide)
    with pytest.raises(MdmkitError, match="one text for each image"):
        metrics.clip_score(narrow, narrow[:1])


def test_one_feature_is_enough() -> None:
    """Means 1 and 2, variances 2 and 8: 1 + (√2 − √8)²."""
    one = metrics.statistics(torch.tensor([[0.0], [2.0]]))
    assert one[1].shape == (1, 1)
    assert metrics.frechet_distance(one, metrics.statistics(torch.tensor([[0.0], [4.0]]))) == pytest.approx(3)


GOOD = (torch.zeros(2), torch.eye(2))


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ((torch.zeros(0), torch.zeros(0, 0)), r"a mean \[0\] and a covariance \[0, 0\]; .* at least one feature"),
        ((GOOD[0], GOOD[1].to_sparse()), "dense torch tensors of real numbers"),
        ((GOOD[0].to_sparse(), GOOD[1]), "dense torch tensors of real numbers"),
        ((GOOD[0], GOOD[1] + 1j), "dense torch tensors of real numbers"),
        ((GOOD[0].numpy(), GOOD[1].numpy()), "dense torch tensors of real numbers"),
        (None, "dense torch tensors of real numbers"),
    ],
)
def test_statistics_of_no_use_are_refused_in_any_place(known: Any, told: str) -> None:
    for name, pair in (("drawn", (known, GOOD)), ("real", (GOOD, known))):
        with pytest.raises(MdmkitError, match=f"{name} statistics.*{told}"):
            metrics.frechet_distance(*pair)


@pytest.mark.parametrize("wrong", [torch.eye(4).to_sparse(), torch.eye(4) + 1j, np.eye(4), None])
def test_features_must_be_dense_and_real(wrong: Any) -> None:
    told = "must be a dense torch tensor of real numbers"
    for measure in (metrics.statistics, metrics.inception_score):
        with pytest.raises(MdmkitError, match=told):
            measure(wrong)
    for measure in (metrics.precision_recall, metrics.clip_score):
        with pytest.raises(MdmkitError, match=told):
            measure(torch.eye(4), wrong)


@pytest.mark.parametrize("neighbours", [0, -1, 1.5, True, "3"])
def test_neighbours_are_at_least_one(neighbours: Any) -> None:
    with pytest.raises(MdmkitError, match=r"neighbours=.*: it is k, a whole number of at least 1"):
        metrics.precision_recall(torch.eye(5), torch.eye(5), neighbours)


def test_precision_and_recall_do_not_depend_on_how_rows_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    drawn, real = (torch.randn(70, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    whole = metrics.precision_recall(drawn, real)
    assert min(whole) > 0 and max(whole) < 1
    monkeypatch.setattr(metrics, "ROWS_AT_ONCE", 16)
    assert metrics.precision_recall(drawn, real) == whole


def test_too_little_or_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(MdmkitError, match="two images"):
        metrics.statistics(torch.zeros(1, 3))
    with pytest.raises(MdmkitError, match="more images"):
        metrics.precision_recall(torch.zeros(3, 1), torch.zeros(9, 1))
    with pytest.raises(MdmkitError, match="a row for each image"):
        metrics.inception_score(torch.zeros(0, 4))
    with pytest.raises(MdmkitError, match="no reference statistics"):
        metrics.load_statistics(tmp_path / "absent.safetensors")
