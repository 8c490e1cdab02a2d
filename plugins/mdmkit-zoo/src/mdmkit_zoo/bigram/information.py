"""The exact mutual information between the open positions of a chain, to check information gain against.

To reveal x_i lowers the sum of the marginal entropies of all open positions, on average over its conditional, by H(x_i)
+ Σ_l I(x_i; x_l | revealed) nats. A lookahead estimates the second term.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit_zoo.bigram.chain import Chain


def pairwise_information(chain: Chain, tokens: Tensor) -> Tensor:
    """I(x_i; x_l | revealed words) for every two open positions: int64 [M, L] -> [M, L, L], nats; diagonal 0.

    A revealed word between two positions makes them independent, so only pairs within a run of masks are computed.
    It costs one product of [V, V] matrices per distance.
    """
    rows, width = tokens.shape
    whole = torch.ones_like(tokens, dtype=torch.bool)
    before, after = chain.before(tokens, whole), chain.after(tokens, whole)
    out = before.new_zeros(rows, width, width)
    open_ = (tokens == chain.mask_id).tolist()
    powers = [chain.transitions]
    for m in range(rows):
        for i in range(width):
            for j in range(i + 1, width):
                if not all(open_[m][i : j + 1]):
                    break
                if len(powers) < j - i:
                    powers.append(powers[-1] @ chain.transitions)
                joint = before[m, i, :, None] * powers[j - i - 1] * after[m, j]
                out[m, i, j] = out[m, j, i] = _information(joint / joint.sum())
    return out


def mutual_information(chain: Chain, tokens: Tensor) -> Tensor:
    """Σ over the other open positions l of I(x_i; x_l | revealed words): int64 [M, L] -> [M, L], nats."""
    return pairwise_information(chain, tokens).sum(-1)


def _information(joint: Tensor) -> Tensor:
    """Σ p(x, y) log p(x, y) / p(x) p(y), where 0 log 0 = 0."""
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return torch.xlogy(joint, joint).sum() - torch.xlogy(joint, apart).sum()
