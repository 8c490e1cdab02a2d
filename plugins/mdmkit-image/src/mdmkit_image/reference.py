"""Statistics of real images in a file: ours in safetensors, or the .npz file of other tools.

`.npz` files have the keys `mu` [D] and `sigma` [D, D], as pytorch-fid, clean-fid and ADM's reference batches have them.
Safetensors files have `mean` [D] and `covariance` [D, D].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mdmkit import MdmkitError
from mdmkit_image.layout import said

Statistics = tuple[Tensor, Tensor]
# The names of mean and covariance in a file.
OURS, THEIRS = ("mean", "covariance"), ("mu", "sigma")
# A covariance may differ from its transpose by this share of its largest value, and have eigenvalues below 0 by this
# share of its largest one: float32 rounds.
ASYMMETRY = NEGATIVE = 1e-3
# What to do about a tensor that is no covariance.
_AGAIN = "Compute the statistics again, from the features of the images."


def save_statistics(known: Statistics, file: str | Path) -> None:
    """Write mean and covariance: in numpy's format for other tools if the file's suffix is `.npz`, else safetensors."""
    file = Path(file)
    if file.suffix == ".npz":
        with file.open("wb") as opened:
            np.savez(opened, mu=known[0].cpu().numpy(), sigma=known[1].cpu().numpy())
    else:
        save_file({name: part.contiguous() for name, part in zip(OURS, known, strict=True)}, file)


def load_statistics(file: str | Path) -> Statistics:
    """Read mean and covariance, float64, from a safetensors file or an `.npz` file.

    Raises:
        MdmkitError: the file cannot be read, or holds something else.
    """
    file = Path(file)
    names = THEIRS if file.suffix == ".npz" else OURS
    try:
        known = _npz(file) if file.suffix == ".npz" else load_file(file)
        parts = known[names[0]], known[names[1]]
    except Exception as error:  # safetensors and numpy raise many unrelated types
        raise MdmkitError(
            f"{file} holds no reference statistics, {names[0]} [D] and {names[1]} [D, D]: {said(error)}. Name a file "
            "that save_statistics wrote, or an .npz file with mu and sigma."
        ) from error
    return checked_statistics(parts, str(file))


def is_plain(values: Any) -> bool:
    """True for a dense tensor of real numbers, which float64 can hold."""
    return isinstance(values, Tensor) and values.layout == torch.strided and not values.is_complex()


def checked_statistics(known: Statistics, name: str) -> Statistics:
    """Return mean and covariance in float64, if they are finite, and of the right shapes, and the second can be one.

    The covariance of fewer images than features is singular, which is no fault.

    Raises:
        MdmkitError: they are not, or have not.
    """
    if not isinstance(known, tuple | list) or len(known) != 2 or not all(map(is_plain, known)):
        raise MdmkitError(
            f"{name} statistics must be a mean [D] and a covariance [D, D], dense torch tensors of real numbers, as "
            "statistics(features) gives them."
        )
    mean, covariance = known
    if mean.dim() != 1 or not len(mean) or covariance.shape != (len(mean), len(mean)):
        raise MdmkitError(
            f"{name} statistics: a mean {list(mean.shape)} and a covariance {list(covariance.shape)}; they must be [D] "
            "and [D, D], with at least one feature."
        )
    mean, covariance = mean.double(), covariance.double()
    if not (mean.isfinite().all() and covariance.isfinite().all()):
        raise MdmkitError(f"{name} statistics hold NaN or infinity. Compute them again, from finite features.")
    if (covariance - covariance.T).abs().max() > ASYMMETRY * covariance.abs().max():
        raise MdmkitError(f"{name} statistics: the second tensor is not symmetric, so it is not a covariance.")
    variances = covariance.diagonal()
    if variances.min() < -NEGATIVE * variances.max():
        where = int(variances.argmin())
        raise MdmkitError(
            f"{name} statistics: the second tensor is not a covariance, because its diagonal is "
            f"{float(variances[where]):g} at feature {where} (counted from 0), and no variance is below 0. {_AGAIN}"
        )
    values = torch.linalg.eigvalsh(covariance)
    if values[0] < -NEGATIVE * values[-1]:
        raise MdmkitError(
            f"{name} statistics: the second tensor is not a covariance, because its eigenvalues go from "
            f"{float(values[0]):g} to {float(values[-1]):g}, and none may be below 0. {_AGAIN}"
        )
    return mean, covariance


def _npz(file: Path) -> dict[str, Tensor]:
    with np.load(file, allow_pickle=False) as found:
        return {name: torch.from_numpy(np.asarray(found[name])) for name in THEIRS}
