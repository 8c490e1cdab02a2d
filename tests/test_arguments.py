"""Whether a part has written into a large argument: all of its entries count, however they lie in memory."""

import pytest
import torch

from mdmkit.loop.arguments import MOST, Arguments

N = 2 * MOST + 8


def _lying(how, dtype):
    """A large tensor of zeros."""
    if how == "as it is":
        return torch.zeros(N, dtype=dtype)
    if how == "odd":
        return torch.zeros(N + 1, dtype=dtype)
    if how == "from the middle":
        return torch.zeros(N + 3, dtype=dtype)[3:]
    return torch.zeros(N // 2, 4, dtype=dtype)[:, :2]


@pytest.mark.parametrize("how", ["as it is", "odd", "from the middle", "with gaps"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_one_other_entry_of_a_large_tensor_is_found(how, dtype):
    for at in (1, N // 2 + 1, N - 1):  # none of them is among the entries that are copied
        tensor = _lying(how, dtype)
        arguments = Arguments(tensor=tensor)
        assert arguments.changed() is None
        tensor[at if tensor.dim() == 1 else (at // 2, at % 2)] = 1
        assert arguments.changed() == "tensor"
