"""A Markov chain over words as an exact masked model, with all marginals from forward-backward.

Notation: M rows of L tokens, V words. A token equal to `mask_id` (= V) is open; every other token is revealed. `valid`,
bool [M, L], is False at padding; the chain begins again after it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdmkit import MdmkitError


class Chain:
    """A chain with transitions P(next | previous).

    Args:
        transitions: float32 or float64 [V, V]; rows sum to 1. Its dtype and device are those of the computation.
        initial: [V], the distribution of a row's first word; None: the stationary one.

    Raises:
        MdmkitError: the matrix is not square, or does not hold probabilities.
    """

    def __init__(self, transitions: Tensor, initial: Tensor | None = None):
        shape = tuple(transitions.shape)
        if len(shape) != 2 or shape[0] != shape[1] or transitions.dtype not in (torch.float32, torch.float64):
            raise MdmkitError(
                f"transitions must be a square float32 or float64 matrix, not {transitions.dtype} {shape}."
            )
        if bool((transitions < 0).any()) or not torch.allclose(transitions.sum(1), transitions.new_ones(()), atol=1e-4):
            raise MdmkitError("transitions must be probabilities: no entry below 0, every row summing to 1.")
        self.transitions = transitions
        self.words = self.mask_id = shape[0]
        self.initial = _stationary(transitions) if initial is None else initial.to(transitions)

    def marginals(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Log-probabilities of each position's word given the revealed words elsewhere: int64 [M, L] -> [M, L, V].

        At a revealed position, too, this is the conditional given the *other* positions, not a point mass. Padding gets
        the initial distribution. A row whose revealed words cannot follow each other has no distribution: NaN; smoothed
        transitions leave no such row.
        """
        valid = _all(tokens) if valid is None else valid
        joint = (self.before(tokens, valid) * self.after(tokens, valid)).log()
        return joint - joint.logsumexp(-1, keepdim=True)

    def before(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """Forward messages p(x_t | revealed words left of t): [M, L, V], each summing to 1."""
        known = tokens.clamp_max(self.words - 1)
        open_ = (tokens == self.mask_id) & valid
        # One transfer to the host: columns that are open in no row need no matrix product, only a row of P.
        somewhere = open_.any(0).tolist()
        message = self.initial.expand(len(tokens), -1)
        out = [message]
        for t in range(1, tokens.shape[1]):
            following = self.transitions[known[:, t - 1]]
            if somewhere[t - 1]:
                following = torch.where(open_[:, t - 1, None], message @ self.transitions, following)
            message = torch.where(valid[:, t - 1, None], following, self.initial)
            out.append(message)
        return torch.stack(out, 1)

    def after(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """Backward messages p(revealed words right of t | x_t), up to a factor: [M, L, V], maximum 1.

        Only the nearest revealed word matters: words after it give a factor without x_t. Trailing masks give ones.
        """
        known = tokens.clamp_max(self.words - 1)
        open_ = (tokens == self.mask_id) & valid
        somewhere = open_.any(0).tolist()
        message = torch.ones_like(self.initial).expand(len(tokens), -1)
        out = [message]
        for t in range(tokens.shape[1] - 2, -1, -1):
            preceding = self.transitions[:, known[:, t + 1]].T
            if somewhere[t + 1]:
                preceding = torch.where(open_[:, t + 1, None], message @ self.transitions.T, preceding)
            message = torch.where((valid[:, t] & valid[:, t + 1])[:, None], preceding, 1.0)
            message = message / message.amax(-1, keepdim=True)
            out.append(message)
        return torch.stack(out[::-1], 1)

    def log_likelihood(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Log-probability of the revealed words of each row, masks summed out: [M], nats."""
        valid = _all(tokens) if valid is None else valid
        each = self.before(tokens, valid).gather(-1, tokens.clamp_max(self.words - 1)[..., None])[..., 0].log()
        return each.masked_fill((tokens == self.mask_id) | ~valid, 0.0).sum(1)

    def sample(self, tokens: Tensor, count: int, seed: int = 0) -> Tensor:
        """Draw `count` completions of each row from the exact joint given its revealed words: int64 [M, count, L]."""
        generator = torch.Generator().manual_seed(seed)
        rows, width = tokens.shape
        noise = torch.rand(rows, count, width, dtype=torch.float64, generator=generator).to(tokens.device)
        before = self.before(tokens, _all(tokens))
        out = tokens[:, None].expand(-1, count, -1).clone()
        for t in range(width - 1, -1, -1):
            weight = before[:, t, None].expand(-1, count, -1)
            if t + 1 < width:
                weight = weight * self.transitions.T[out[:, :, t + 1]]
            ladder = weight.double().cumsum(-1)
            rung = torch.searchsorted(ladder, noise[:, :, t, None] * ladder[..., -1:], right=True)[..., 0]
            drawn = rung.clamp_max(self.words - 1)
            out[:, :, t] = torch.where(tokens[:, None, t] == self.mask_id, drawn, out[:, :, t])
        return out

    def viterbi(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Find each row's most probable completion: (int64 [M, L], its log-probability [M] in nats)."""
        logs = self.transitions.log()
        fixed = torch.full((*tokens.shape, self.words + 1), -torch.inf, dtype=logs.dtype, device=logs.device)
        fixed.scatter_(-1, tokens[..., None], 0.0)
        allowed = torch.where(fixed[..., -1:] == 0, 0.0, fixed[..., :-1])
        score, back = self.initial.log() + allowed[:, 0], []
        for t in range(1, tokens.shape[1]):
            # Row by row: all rows at once would hold M · V² scores.
            best = [(row[:, None] + logs).max(0) for row in score]
            back.append(torch.stack([b.indices for b in best]))
            score = torch.stack([b.values for b in best]) + allowed[:, t]
        total, last = score.max(-1)
        path = [last]
        for pointers in reversed(back):
            path.append(pointers.gather(1, path[-1][:, None])[:, 0])
        return torch.stack(path[::-1], 1), total


def _all(tokens: Tensor) -> Tensor:
    return torch.ones_like(tokens, dtype=torch.bool)


def _stationary(transitions: Tensor) -> Tensor:
    """Find the distribution with πP = π, by iterating the lazy chain (P + I) / 2, which cannot oscillate."""
    matrix = transitions.double()
    pi = torch.full((len(matrix),), 1 / len(matrix), dtype=torch.float64, device=matrix.device)
    for _ in range(10_000):
        moved = (pi + pi @ matrix) / 2
        if bool((moved - pi).abs().max() < 1e-16):
            break
        pi = moved / moved.sum()
    return pi.to(transitions)
