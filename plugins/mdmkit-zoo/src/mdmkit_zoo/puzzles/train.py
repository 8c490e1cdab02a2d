"""The recipe that made `zoo:puzzles`: seeded, committed, one command (`mdmkit zoo train puzzles`).

A bidirectional Llama (transformers' own class with `is_causal=False`) learns to fill any subset of masked characters:
the mask rate is uniform, the loss is the cross-entropy averaged over the masked positions. This is MaskGIT's unweighted
objective. It has the same optimum as the 1/t-weighted bound of arXiv:2406.04329, with less variance.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from mdmkit_zoo.puzzles import texts as puzzles
from mdmkit_zoo.puzzles.tokenizer import MASK_ID, PAD_ID, VOCABULARY, build_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


# The prompts of `mdmkit decode` if none is given: one of each puzzle, held out from training.
SAMPLES = ("___4/3___/1__2/____", "3,8,7>12:___=__,___0_=__", "_*_=_______")


@dataclass(frozen=True)
class Recipe:
    """Everything that the weights depend on."""

    seed: int = 0
    steps: int = 6000
    batch: int = 128
    learning_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.05
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    feed_forward: int = 512
    mix: tuple[float, float, float] = (0.25, 0.5, 0.25)  # share of each puzzle, in the order of `puzzles.TASKS`
    prompted: float = 0.6  # share of Countdown and one-way examples whose numbers, or factors, are not masked
    average: float = 0.999  # decay of the running weight average that is saved


class Examples:
    """All correct texts of one puzzle as token ids, and the positions that may be masked."""

    def __init__(self, task: str, width: int, prompted: float):
        self.task, self.prompted = task, prompted
        lines = [line for line in puzzles.texts(task) if task != "countdown" or not puzzles.held_out(task, line)]
        self.ids = np.full((len(lines), width), PAD_ID, dtype=np.int64)
        self.ids[:, : len(lines[0])] = [[VOCABULARY.index(c) for c in line] for line in lines]
        # A position may be masked if its character varies. Punctuation is the same in every text, so it is never
        # masked.
        self.maskable = np.broadcast_to((self.ids != self.ids[:1]).any(0), self.ids.shape).copy()

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw `count` texts [count, width] and their masks [count, width]; never a held-out puzzle."""
        rows = rng.integers(len(self.ids), size=count)
        ids, maskable = self.ids[rows], self.maskable[rows]
        maskable[rng.random(count) < self.prompted, : puzzles.PROMPT[self.task]] = False
        masked = _mask(maskable, rng)
        if self.task == "sudoku4":
            while (
                held := np.array([puzzles.held_out("sudoku4", _text(i, m)) for i, m in zip(ids, masked, strict=True)])
            ).any():
                masked[held] = _mask(maskable[held], rng)
        return ids, masked


def _mask(maskable: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mask each position that may be masked at its row's rate, and at least one position per row."""
    noise = np.where(maskable, rng.random(maskable.shape), 2.0)
    covered = noise < rng.random((len(maskable), 1))
    covered[np.arange(len(covered)), noise.argmin(1)] = True
    return covered


def _text(ids: np.ndarray, masked: np.ndarray) -> str:
    return "".join(puzzles.MASK if m else VOCABULARY[i] for i, m in zip(ids, masked, strict=True) if i != PAD_ID)


def build_model(recipe: Recipe) -> LlamaForCausalLM:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=64,
        pad_token_id=PAD_ID,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
        use_cache=False,
    )
    config.is_causal = False  # bidirectional: transformers then builds no causal mask
    config.mask_token_id = MASK_ID
    return LlamaForCausalLM(config)


def train(
    output: Path,
    recipe: Recipe | None = None,
    *,
    device: str = "cpu",
    report: Callable[[int, float], None] | None = None,
) -> Path:
    """Train from the seed and save model, tokenizer and recipe to `output`; `report(step, loss)` after each step."""
    recipe = recipe or Recipe()
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = build_model(recipe).train()
    model.to(torch.device(device))
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    width = max(len(puzzles.texts(task)[0]) for task in puzzles.TASKS)
    counts = [round(recipe.batch * share) for share in recipe.mix]
    sources = [Examples(task, width, recipe.prompted) for task in puzzles.TASKS]
    began = time.time()
    for step in range(recipe.steps):
        drawn = [source.draw(count, rng) for source, count in zip(sources, counts, strict=True)]
        ids = torch.from_numpy(np.concatenate([d[0] for d in drawn])).to(device)
        masked = torch.from_numpy(np.concatenate([d[1] for d in drawn])).to(device)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe)
        with torch.autocast(device, torch.bfloat16):
            logits = model(
                ids.masked_fill(masked, MASK_ID), attention_mask=(ids != PAD_ID).long(), use_cache=False
            ).logits
        losses = F.cross_entropy(logits.float().flatten(0, 1), ids.flatten(), reduction="none").view_as(ids)
        loss = (losses * masked).sum() / masked.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(recipe.average, (step + 1) / (step + 10))
        for mean, new in zip(average.parameters(), model.parameters(), strict=True):
            mean.lerp_(new.detach(), 1 - decay)
        if report is not None:
            report(step, loss.item())
    average.half().save_pretrained(output)
    build_tokenizer().save_pretrained(output)
    about = {"length": None, "samples": list(SAMPLES), "plain": True}
    (output / "mdmkit.json").write_text(json.dumps(about, indent=2) + "\n")
    facts = asdict(recipe) | {
        "minutes": round((time.time() - began) / 60, 1),
        "torch": torch.__version__,
        "device": device,
    }
    (output / "recipe.json").write_text(json.dumps(facts, indent=2) + "\n")
    return output


def _schedule(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then half a cosine down to two hundredths."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2
