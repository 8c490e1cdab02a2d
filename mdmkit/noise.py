"""Random numbers without a generator: a hash of (row seed, tick, stream, alternative, position).

The same counters give the same numbers on any device, in any batch, in any order, so a row's result depends on its
own seed only. The hash is splitmix64 (Steele, Lea & Flood, OOPSLA 2014) in wrapping int64 arithmetic.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift logically: torch's >> on int64 copies the sign bit in, which is masked off again."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def splitmix64(x: Tensor) -> Tensor:
    """Hash int64 to int64, elementwise."""
    x = x + _signed(_GOLDEN)
    x = (x ^ _shift_right(x, 30)) * _signed(_MIX1)
    x = (x ^ _shift_right(x, 27)) * _signed(_MIX2)
    return x ^ _shift_right(x, 31)


def stream_id(name: str) -> int:
    """The counter of a named stream; the name keeps two stages from sharing numbers."""
    return zlib.crc32(name.encode())


def uniform(seed: Tensor, tick: Tensor, stream: str, alternatives: int, position: Tensor) -> Tensor:
    """Draw float64 in (0, 1), [B, alternatives, W], from int64 seed [B], tick [B] and position [B, W]."""
    row = splitmix64(splitmix64(seed) ^ (tick * _signed(_MIX1)) ^ stream_id(stream))
    alternative = torch.arange(alternatives, device=seed.device)
    key = splitmix64(row[:, None] + alternative * _signed(_GOLDEN))
    bits = splitmix64(key[:, :, None] ^ splitmix64(position)[:, None, :])
    return (_shift_right(bits, 12).double() + 0.5) * 2.0**-52


def gumbel(uniform: Tensor) -> Tensor:
    """Turn uniforms in (0, 1) into standard Gumbel noise."""
    return -torch.log(-torch.log(uniform))


def row_seed(seed: int, index: int) -> int:
    """The seed of row `index` in a run seeded `seed`: 48 bits, so that JSON carries it exactly."""
    mixed = splitmix64(splitmix64(torch.tensor(_signed(seed))) ^ index)
    return int(mixed) & ((1 << 48) - 1)
