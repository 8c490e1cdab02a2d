"""What `benchmarks/peers.py` compares: which loop, with which sampler of mdmkit, on models of which shape."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import random_checkpoint
import torch
import transformers
from peers import bare, dllm, fast_dllm, info_gain, llada, sdar
from peers.model import Model

import mdmkit
from mdmkit.cli.machine import processor

PROMPT = 32  # tokens
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Size:
    """A model's shape, and how many tokens are decoded with it."""

    name: str
    hidden: int
    inner: int
    layers: int
    heads: int
    vocab: int
    length: int = 64
    block: int = 16

    def write(self, family: str, folder: Path) -> None:
        """Write a checkpoint with random weights."""
        sizes = {"hidden": self.hidden, "inner": self.inner, "layers": self.layers, "heads": self.heads}
        heads = {"kv_heads": self.heads if family == "llada-8b" else self.heads // 2, "head": self.hidden // self.heads}
        ids = {"vocab": self.vocab, "mask": self.vocab - 10, "end": self.vocab - 9, "positions": 2048}
        random_checkpoint.write(family, folder, replace(random_checkpoint.shape_of(family), **sizes, **heads, **ids))


SIZES = (
    Size("tiny, V 2,048", 128, 352, 2, 4, 2048),
    Size("mid, V 32,000", 512, 1408, 4, 8, 32000),
    Size("mid, V 126,464", 512, 1408, 4, 8, 126464, length=32),
)
QUICK = (Size("miniature, V 256", 64, 96, 2, 4, 256, length=16, block=8),)


@dataclass(frozen=True)
class Peer:
    """A loop, and what mdmkit decodes beside it.

    Attributes:
        theirs: the loop: (model, prompts [B, P], length, block) -> rows.
        preset, parts: the sampler of mdmkit that fills the same positions.
        block: the model's own block; None: the size's.
        draws: True if both draw random numbers, so that their tokens differ.
    """

    name: str
    cache: str
    theirs: Callable[[Model, torch.Tensor, int, int], torch.Tensor]
    batches: tuple[int, ...] = (1,)
    family: str = "llada-8b"
    preset: str = "confidence"
    parts: tuple[tuple[str, Any], ...] = ()
    block: int | None = None
    draws: bool = False

    def sampler(self, size: Size) -> mdmkit.Sampler:
        """The sampler of mdmkit."""
        plan = {"length": size.length, "early_stop": False} | ({} if self.block else {"block": size.block})
        return mdmkit.compose(self.preset, **dict(self.parts), cache=self.cache.split(",")[0], plan=plan)


def _fast(cache: str) -> Peer:
    def theirs(model: Model, prompts: torch.Tensor, length: int, block: int) -> torch.Tensor:
        return fast_dllm.generate(model, prompts, length=length, block=block, steps=length, cache=cache)

    return Peer("Fast-dLLM v1", cache, theirs)


def _dllm(cache: str) -> Peer:
    def theirs(model: Model, prompts: torch.Tensor, length: int, block: int) -> torch.Tensor:
        return dllm.sample(model, prompts, length=length, block=block, steps=length, cache=cache)

    return Peer("dllm", cache, theirs, (1, 8))


def _info_gain(cache: str, threshold: float | None) -> Peer:
    def theirs(model: Model, prompts: torch.Tensor, length: int, block: int) -> torch.Tensor:
        sizes = {"length": length, "block": block, "steps": length}
        return info_gain.sample(model, prompts, **sizes, cache=cache, threshold=threshold)

    select = {"candidates": 8, "position_temperature": 0.1, "bypass": threshold}
    parts = (("select", select), ("lookahead", {"scope": "sequence"}))
    label = f"{cache}, γ {'off' if threshold is None else threshold}"
    return Peer("Info-Gain authors", label, theirs, preset="info_gain", parts=parts, draws=True)


def _sdar(block: int) -> Peer:
    def theirs(model: Model, prompts: torch.Tensor, length: int, _: int) -> torch.Tensor:
        return sdar.generate(model, prompts, length=length, block=block, steps=block)

    return Peer("SDAR", f"block, of {block}", theirs, family="sdar-8b", block=block)


def _llada(model: Model, prompts: torch.Tensor, length: int, block: int) -> torch.Tensor:
    return llada.generate(model, prompts, length=length, block=block, steps=length)


def _bare(model: Model, prompts: torch.Tensor, length: int, block: int) -> torch.Tensor:
    return bare.generate(model, prompts, length=length, block=block)


CACHES = ("none", "prefix", "dual")
PEERS = (
    Peer("LLaDA", "none", _llada, (1, 8)),
    *map(_fast, CACHES),
    *map(_dllm, CACHES),
    _info_gain("none", None),
    _info_gain("none", 0.8),
    _info_gain("prefix", None),
    _info_gain("dual", None),
    _sdar(4),
    _sdar(16),
    Peer("bare greedy loop", "none", _bare, (1, 8)),
)


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    peer: Peer
    size: Size
    batch: int

    @property
    def name(self) -> str:
        return f"{self.peer.name}: {self.peer.cache}; {self.size.name}; batch {self.batch}"

    @property
    def model(self) -> tuple[Size, str, int | None]:
        """Cells with the same value share a loaded model."""
        return self.size, self.peer.family, self.peer.block


def cells(sizes: tuple[Size, ...]) -> list[Cell]:
    """All cells, size by size."""
    return [Cell(peer, size, batch) for size in sizes for peer in PEERS for batch in peer.batches]


def machine() -> dict[str, Any]:
    """The facts under which rows may share a table."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
