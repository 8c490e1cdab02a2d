"""The belief: the model's logits over some positions, and statistics that are computed once and shared.

A step reads the model at open positions. So the head, the logit policy and the statistics run only there, and the
logits of the positions that were read are stored in one packed tensor. At all other positions the belief is flat: every
logit is 0. A part that reads filled positions too says so: `reads = ("written",)`.
"""

from __future__ import annotations

import functools
import math
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit import ops
from mdmkit.stage.shifted import Shifted

# Logits that are compared at a time.
RANKED = 1 << 22


class Belief:
    """A model's logits over some positions, and the statistics that stages read.

    Args:
        logits: [..., V], after the logit policy; a forbidden id is −inf. With `slot` they are packed, [m, V]. A
            constraint may give them as `Shifted`: they are then made only if a part reads them all.
        slot: int64 [...]; the index into the packed logits of each position, −1 where none was read.
        places: int64 [m]; the positions of the packed logits, as indices into `slot` as one row; None: not known.
        unconstrained: the same logits before the sampler's constraint; None if it has none.
        notes: what the constraint's `shape` has noted for its `settle`, by name; tensors have the packed positions in
            front, [m, …].
    """

    def __init__(
        self,
        logits: Tensor | Shifted,
        slot: Tensor | None = None,
        places: Tensor | None = None,
        unconstrained: Tensor | None = None,
        notes: dict[str, Tensor] | None = None,
    ):
        self.source, self.slot, self._places, self.packed_unconstrained = logits, slot, places, unconstrained
        self.notes = {} if notes is None else notes
        self._read: ops.Stats | None = None

    @classmethod
    def at_open(
        cls,
        packed: Tensor | Shifted,
        open_: Tensor,
        places: Tensor,
        unconstrained: Tensor | None = None,
        notes: dict[str, Tensor] | None = None,
    ) -> Belief:
        """Make the belief at open positions, bool [B, W], from logits [m, V] at `ops.marked` of them, int64 [m].

        On a GPU some places may not be open; the belief is flat there as well.
        """
        if places.device.type == "cpu" and len(places) == open_.numel() and bool(open_.all()):
            free = None if unconstrained is None else unconstrained.unflatten(0, open_.shape)
            every = {name: x.unflatten(0, open_.shape) for name, x in (notes or {}).items()}
            return cls(packed.unflatten(0, open_.shape), unconstrained=free, notes=every)
        slot = places.new_full((open_.numel(),), -1)
        slot.scatter_(0, places, torch.arange(len(places), device=places.device))
        return cls(packed, slot.view(open_.shape).masked_fill(~open_, -1), places, unconstrained, notes)

    @property
    def packed(self) -> Tensor:
        """[m, V], or [..., V] without `slot`."""
        return self.source.made if isinstance(self.source, Shifted) else self.source

    @property
    def vocab(self) -> int:
        return self.source.shape[-1]

    def at(self, rows: Tensor) -> Belief:
        """The belief of rows int64 [B'] of [B, ...], in this order."""
        free = self.packed_unconstrained
        if self.slot is None:
            return Belief(self.source[rows], unconstrained=None if free is None else free[rows])
        other = Belief(self.source, self.slot[rows], unconstrained=free)
        other._read = self._read
        return other

    @cached_property
    def logits(self) -> Tensor:
        """[..., V]. If the belief is packed, this makes a copy with zeros at the positions that were not read."""
        if self.slot is None:
            return self.packed
        return self.spread(self.packed)

    @property
    def unconstrained(self) -> Tensor | None:
        """[..., V]: the logits before the sampler's constraint, with zeros as in `logits`; None if it has none."""
        return None if self.packed_unconstrained is None else self.spread(self.packed_unconstrained)

    def spread(self, values: Tensor) -> Tensor:
        """Turn values of the packed positions, [m, …], into values of all, [..., …]: 0 where none was read."""
        if self.slot is None:
            return values
        return torch.cat((values, values.new_zeros(1, *values.shape[1:])))[self.slot]

    @cached_property
    def stats(self) -> ops.Stats:
        if self._read is None:
            self._read = self.source.stats if isinstance(self.source, Shifted) else ops.stats(self.source)
        read = self._read
        if self.slot is None:
            return read
        # Slot −1 is the last entry, which is that of a flat belief.
        numbers = torch.cat((torch.stack((read.top, read.lse, read.entropy)), self._flat()), 1)
        at = self.slot.flatten() % numbers.shape[1]
        top, lse, entropy = numbers.index_select(1, at).view(3, *self.slot.shape).unbind(0)
        return ops.Stats(top, functional.pad(read.argmax, (0, 1)).index_select(0, at).view_as(top), lse, entropy)

    def _flat(self) -> Tensor:
        """[3, 1]: top, lse and entropy of a belief of which every logit is 0."""
        assert self._read is not None
        return _flat(self.vocab, self._read.lse.dtype, self._read.lse.device)

    @property
    def argmax(self) -> Tensor:
        """int64 [...]: the most probable token."""
        return self.stats.argmax

    @property
    def entropy(self) -> Tensor:
        """fp32 [...], nats."""
        return self.stats.entropy

    @cached_property
    def top2(self) -> Tensor:
        """fp32 [..., 2]: probabilities of the best and the second-best token."""
        second = ops.runner_up(self.packed).to(self.stats.top.dtype)
        if self.slot is not None:
            second = functional.pad(second, (0, 1))[self.slot]
        return torch.stack((self.stats.top, second), -1).sub(self.stats.lse[..., None]).exp()

    @cached_property
    def confidence(self) -> Tensor:
        """fp32 [...]: probability of the most probable token."""
        return (self.stats.top - self.stats.lse).exp()

    @cached_property
    def logp(self) -> Tensor:
        """fp32 [..., V]. As large as the logits: use `logp_of` if you need only a few tokens."""
        return self.logits.to(self.stats.lse.dtype) - self.stats.lse[..., None]

    def logp_of(self, tokens: Tensor) -> Tensor:
        """Log-probability of given tokens: int64 [..., n] -> fp32 [..., n]."""
        lse = self.stats.lse
        own = self._entries(tokens).to(lse.dtype)
        if self.slot is not None:
            own.masked_fill_(self.slot[..., None] < 0, 0.0)
        return own - lse[..., None]

    def logit_read(self, tokens: Tensor) -> Tensor:
        """Logit of one token at each position that was read, arbitrary elsewhere: int64 [...] -> [...]."""
        return self._entries(tokens[..., None])[..., 0]

    def _entries(self, tokens: Tensor) -> Tensor:
        """Logits of tokens int64 [..., n] at the positions that were read, arbitrary elsewhere: [..., n]."""
        if isinstance(self.source, Shifted):
            slot = self.slot
            if slot is None:
                slot = torch.arange(tokens[..., 0].numel(), device=tokens.device).view(tokens.shape[:-1])
            return self.source.at(slot[..., None], tokens)
        if self.slot is None:
            return self.source.gather(-1, tokens)
        return self.source[self.slot[..., None], tokens]

    def rank_read(self, tokens: Tensor) -> Tensor:
        """Rank of one token at each position that was read, arbitrary elsewhere: int64 [...] -> int64 [...].

        It is 1 for the most probable token; equally probable tokens have the same rank.
        """
        own, out = self.logit_read(tokens).flatten(), tokens.new_ones(tokens.numel())
        # Several places may read one packed position, such as those of particles that were alike.
        slot = torch.arange(len(own), device=own.device) if self.slot is None else self.slot.flatten()
        logits = self.packed.flatten(0, -2)
        for some in ops.marked(slot >= 0, len(own)).split(max(1, RANKED // self.vocab)):
            above = (logits.index_select(0, slot[some].clamp_min(0)) > own[some, None]).sum(-1)
            out.index_copy_(0, some, above + 1)
        return out.view_as(tokens)

    def probability(self, tokens: Tensor) -> Tensor:
        """Probability of one token at each position: int64 [...] -> fp32 [...]."""
        return self.logp_of(tokens[..., None])[..., 0].exp()

    def sample(
        self, uniform: Tensor, temperature: float | Tensor, top_p: float | None = None, top_k: int | None = None
    ) -> Tensor:
        """Draw tokens at positions [B, W] with uniform [B, n, W], see `mdmkit.ops.sample`: int64 [B, n, W].

        At positions that were not read the token is 0.
        """
        if self.slot is None or self._places is None:
            drawn = ops.sample(self.logits, uniform, temperature, top_p, top_k)
            return drawn if self.slot is None else drawn.masked_fill((self.slot < 0)[:, None], 0)
        if isinstance(temperature, Tensor):
            temperature = temperature[self._places // uniform.shape[2]]
        wanted = uniform.transpose(1, 2).flatten(0, 1)[self._places]  # [m, n]
        drawn = ops.sample(self.packed[:, None], wanted[..., None], temperature, top_p, top_k)[..., 0]
        out = drawn.new_zeros(uniform.shape[0] * uniform.shape[2], uniform.shape[1])
        out = out.index_copy(0, self._places, drawn).view(len(uniform), -1, uniform.shape[1])
        return out.masked_fill((self.slot < 0)[..., None], 0).transpose(1, 2)


@functools.lru_cache(maxsize=16)
def _flat(vocab: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    even = math.log(vocab)
    with torch.inference_mode(False):
        return torch.tensor([[0.0], [even], [even]], dtype=dtype, device=device)
