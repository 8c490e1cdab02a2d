"""Measures of drawn images, from features that a network computes of them and of real images.

The caller chooses the network: Inception for numbers that can be compared with papers, or any other. Everything is
computed in float64. Reference statistics are features, or a file of statistics (`mdmkit_image.reference`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdmkit import MdmkitError, shown
from mdmkit_image.reference import Statistics, checked_statistics, is_plain, load_statistics, save_statistics

__all__ = [
    "Statistics",
    "clip_score",
    "frechet_distance",
    "inception_score",
    "load_statistics",
    "precision_recall",
    "save_statistics",
    "statistics",
]
# Distances of this many images are computed at once: a whole matrix of 50,000 x 50,000 would need 20 GB.
ROWS_AT_ONCE = 512


def statistics(features: Tensor) -> Statistics:
    """Mean [D] and covariance [D, D], float64, of features [N, D].

    Raises:
        MdmkitError: there are fewer than two, or a row is not finite.
    """
    values = _rows(features, "features")
    if len(values) < 2:
        raise MdmkitError(f"statistics need features of at least two images, [N, D], not {list(features.shape)}.")
    width = values.shape[1]
    return values.mean(0), values.T.cov().view(width, width)  # torch gives a number if the width is 1


def frechet_distance(drawn: Statistics, real: Statistics) -> float:
    """FID (arXiv:1706.08500): |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), 0 for equal statistics; never below 0.

    The trace of the root is that of (Σ₁^½ Σ₂ Σ₁^½)^½, whose eigenvalues are real. It is computed in float64 whatever
    the statistics are in: the difference of large traces has no correct digit in float32.

    Raises:
        MdmkitError: the statistics are not dense tensors of real finite numbers, not of the right shapes, or of
            features of two widths.
    """
    (mean, covariance), (other, reference) = checked_statistics(drawn, "drawn"), checked_statistics(real, "real")
    _same_width("statistics", mean, other)
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ reference @ root).clamp_min(0).sqrt().sum()
    distance = ((mean - other) ** 2).sum() + covariance.trace() + reference.trace() - 2 * shared
    return float(distance.clamp_min(0))  # rounding alone can make it negative


def inception_score(logits: Tensor) -> float:
    """IS (arXiv:1606.03498) of a classifier's logits [N, C]: exp of the mean KL from the classes' overall shares.

    Raises:
        MdmkitError: there are none, or a row is not finite.
    """
    logp = _rows(logits, "logits").log_softmax(-1)
    overall = logp.exp().mean(0).clamp_min(1e-300).log()
    return float((logp.exp() * (logp - overall)).sum(1).mean().exp())


def precision_recall(drawn: Tensor, real: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Improved precision and recall (arXiv:1904.06991) of features [N, D] and [M, D].

    Precision is the share of drawn images that are closer to some real image than its k-th real neighbour is. Recall is
    the same with drawn and real exchanged. Memory grows with N + M, not with N · M.

    Raises:
        MdmkitError: k is below 1, a set has at most k images, a row is not finite, or the widths differ.
    """
    if not isinstance(neighbours, int) or isinstance(neighbours, bool) or neighbours < 1:
        raise MdmkitError(f"neighbours={shown(neighbours)}: it is k, a whole number of at least 1; papers use 3.")
    first, second = _rows(drawn, "drawn features"), _rows(real, "real features")
    _same_width("features", first, second)
    if min(len(drawn), len(real)) <= neighbours:
        raise MdmkitError(f"precision and recall with {neighbours} neighbours need more images than that of each kind.")

    def covered(points: Tensor, known: Tensor) -> float:
        # Of a point of the set itself, the first neighbour is the point.
        near = [torch.cdist(part, known).kthvalue(neighbours + 1, 1).values for part in known.split(ROWS_AT_ONCE)]
        reach = torch.cat(near)
        inside = [(torch.cdist(part, known) <= reach).any(1) for part in points.split(ROWS_AT_ONCE)]
        return float(torch.cat(inside).double().mean())

    return covered(first, second), covered(second, first)


def clip_score(images: Tensor, texts: Tensor) -> float:
    """CLIP score (arXiv:2104.08718): 100 · max(0, cos) of CLIP's embeddings [N, D] of images and their texts, mean.

    Raises:
        MdmkitError: the shapes differ, there are none, or a row is not finite.
    """
    first, second = _rows(images, "image embeddings"), _rows(texts, "text embeddings")
    if first.shape != second.shape:
        raise MdmkitError(
            f"the CLIP score compares each image with its own text, and there are embeddings {list(first.shape)} of "
            f"images and {list(second.shape)} of texts. Give one text for each image, of the same network."
        )
    return float(100 * torch.cosine_similarity(first, second, dim=-1).clamp_min(0).mean())


def _rows(values: Tensor, name: str) -> Tensor:
    """float64 [N, D], if they are that and finite."""
    if not is_plain(values):
        raise MdmkitError(f"{name} must be a dense torch tensor of real numbers, [N, D] with a row for each image.")
    if values.dim() != 2 or not values.numel():
        raise MdmkitError(f"{name} must be a tensor [N, D] with a row for each image, not {list(values.shape)}.")
    broken = (~values.isfinite()).any(1).nonzero().flatten().tolist()
    if broken:
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        raise MdmkitError(
            f"{name}: {len(broken)} of {len(values)} rows hold NaN or infinity: {', '.join(map(str, broken[:5]))}"
            f"{more} (counted from 0). Look at these images, or leave them out."
        )
    return values.double()


def _same_width(name: str, first: Tensor, second: Tensor) -> None:
    if first.shape[-1] != second.shape[-1]:
        raise MdmkitError(
            f"{name} of two widths: {first.shape[-1]} of the drawn images and {second.shape[-1]} of the real ones. "
            "Both must come from the same layer of the same network."
        )
