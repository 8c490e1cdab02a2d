"""Measures of drawn images, from features that a network computes of them and of real images.

The caller chooses the network: Inception for numbers that can be compared with papers, or any other. Reference
statistics are a safetensors file of `mean` [D] and `covariance` [D, D], or features.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mdmkit import MdmkitError

Statistics = tuple[Tensor, Tensor]


def statistics(features: Tensor) -> Statistics:
    """Mean [D] and covariance [D, D], float64, of features [N, D].

    Raises:
        MdmkitError: there are fewer than two.
    """
    if features.dim() != 2 or len(features) < 2:
        raise MdmkitError(f"statistics need features of two images at least, [N, D], not {list(features.shape)}.")
    values = features.double()
    return values.mean(0), values.T.cov()


def save_statistics(known: Statistics, file: Path) -> None:
    save_file({"mean": known[0].contiguous(), "covariance": known[1].contiguous()}, file)


def load_statistics(file: Path) -> Statistics:
    """Read what `save_statistics` wrote.

    Raises:
        MdmkitError: the file cannot be read, or holds something else.
    """
    try:
        found = load_file(file)
        return found["mean"].double(), found["covariance"].double()
    except Exception as error:  # safetensors raises its own error types
        raise MdmkitError(f"{file} holds no reference statistics (mean and covariance): {error}.") from error


def frechet_distance(drawn: Statistics, real: Statistics) -> float:
    """FID (arXiv:1706.08500): |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), 0 for equal statistics.

    The trace of the root is that of (Σ₁^½ Σ₂ Σ₁^½)^½, whose eigenvalues are real.
    """
    (mean, covariance), (other, reference) = drawn, real
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ reference @ root).clamp_min(0).sqrt().sum()
    return float(((mean - other) ** 2).sum() + covariance.trace() + reference.trace() - 2 * shared)


def inception_score(logits: Tensor) -> float:
    """IS (arXiv:1606.03498) of a classifier's logits [N, C]: exp of the mean KL from the classes' overall shares."""
    logp = logits.double().log_softmax(-1)
    overall = logp.exp().mean(0).clamp_min(1e-300).log()
    return float((logp.exp() * (logp - overall)).sum(1).mean().exp())


def precision_recall(drawn: Tensor, real: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Improved precision and recall (arXiv:1904.06991) of features [N, D] and [M, D].

    Precision is the share of drawn images that are closer to some real image than its k-th real neighbour is. Recall is
    the same with drawn and real exchanged.

    Raises:
        MdmkitError: a set has at most k images.
    """
    if min(len(drawn), len(real)) <= neighbours:
        raise MdmkitError(f"precision and recall with {neighbours} neighbours need more images than that of each kind.")

    def covered(points: Tensor, known: Tensor) -> float:
        reach = torch.cdist(known, known).kthvalue(neighbours + 1, 1).values  # the first is the point itself
        return float((torch.cdist(points, known) <= reach).any(1).double().mean())

    first, second = drawn.double(), real.double()
    return covered(first, second), covered(second, first)


def clip_score(images: Tensor, texts: Tensor) -> float:
    """CLIP score (arXiv:2104.08718): 100 · max(0, cos) of CLIP's embeddings [N, D] of images and their texts, mean."""
    cosine = torch.cosine_similarity(images.double(), texts.double(), dim=-1)
    return float(100 * cosine.clamp_min(0).mean())
