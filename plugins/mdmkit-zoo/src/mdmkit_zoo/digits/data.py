"""scikit-learn's digits: 1797 handwritten digits of 8x8 cells (UCI ML repository, CC BY 4.0), enlarged to 32x32."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mdmkit import MdmkitError

SIDE = 32
CLASSES = tuple("0123456789")
# scikit-learn has the images in the order of their writers, so the last ones are by other writers.
HELD_OUT = 297


@dataclass(frozen=True)
class Digits:
    """Images float [N, 1, 32, 32] in [0, 1], ink at 1, and labels int64 [N]."""

    images: Tensor
    labels: Tensor


def digits() -> tuple[Digits, Digits]:
    """Return the images to train on, and the held-out ones.

    Raises:
        MdmkitError: scikit-learn, which contains them, is not installed.
    """
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise MdmkitError(
            "the digits are a part of scikit-learn, which is not installed: pip install scikit-learn."
        ) from None
    found = load_digits()
    small = torch.from_numpy(found.images).float()[:, None] / 16
    images = F.interpolate(small, size=SIDE, mode="bicubic", align_corners=False).clamp(0, 1)
    labels = torch.from_numpy(found.target).long()
    return Digits(images[:-HELD_OUT], labels[:-HELD_OUT]), Digits(images[-HELD_OUT:], labels[-HELD_OUT:])
