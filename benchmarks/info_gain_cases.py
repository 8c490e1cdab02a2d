"""What `benchmarks/info_gain.py` measures: the tasks, each with a number per decoded prompt, and the samplers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import mdmkit
from mdmkit import Actions, Backbone, Prompt, noise
from mdmkit_info_gain.spacing import Reach, spaced_top
from mdmkit_zoo.bigram.backbone import Bigram
from mdmkit_zoo.catalogue import ENTRIES
from mdmkit_zoo.puzzles import texts

WORDS, LENGTH, REVEALED = 400, 24, 6


@dataclass(frozen=True)
class Task:
    """Prompts of a seed, and what each answer is worth.

    `better` is +1 where a larger number is better, −1 where a smaller one is.
    """

    name: str
    backbone: Backbone
    prompts: Callable[[int, bool], list[Any]]
    worth: Callable[[list[Any], Any], list[float]]
    better: int
    temperature: float = 0.0


def chain() -> Bigram:
    """`zoo:bigram` restricted to its most frequent words, so that many rows are cheap; still exact."""
    whole = Bigram.load(str(ENTRIES["bigram"].folder), dtype="float64")
    kept = whole.chain.initial.argsort(descending=True)[:WORDS]
    moves = whole.chain.transitions[kept][:, kept]
    first = whole.chain.initial[kept]
    words = [whole.words[i] for i in kept.tolist()]
    moves = (moves / moves.sum(1, keepdim=True)).float()
    return Bigram(moves / moves.sum(1, keepdim=True), (first / first.sum()).float(), words)


def bigram_task() -> Task:
    backbone = chain()

    def prompts(count: int, development: bool) -> list[Prompt]:
        seed = int(development)
        blank = torch.full((1, LENGTH), backbone.mask_id)
        rng, out = random.Random(f"bigram/{seed}"), []
        for row in backbone.chain.sample(blank, count, seed=100 + seed)[0].tolist():
            kept = set(rng.sample(range(LENGTH), REVEALED))
            ids = tuple(word if i in kept else backbone.mask_id for i, word in enumerate(row))
            out.append(Prompt(ids=ids, infill=True))
        return out

    def gaps(given: list[Prompt], decoded: Any) -> list[float]:
        _, best = backbone.chain.viterbi(torch.tensor([p.ids for p in given]))
        return (best - backbone.chain.log_likelihood(torch.tensor(decoded.tokens))).tolist()

    return Task("bigram", backbone, prompts, gaps, -1)


def puzzle_task(name: str, backbone: Backbone) -> Task:
    def prompts(count: int, development: bool) -> list[str]:
        # All held-out Countdown prompts are judged, so the development ones come from what training showed.
        return texts.instances(name, count, int(development), trained=development and name == "countdown")

    def solved(given: list[str], decoded: Any) -> list[float]:
        return [float(texts.judge(name, p, t)) for p, t in zip(given, decoded.texts, strict=True)]

    return Task(name, backbone, prompts, solved, 1, 1.0 if name == "one_way" else 0.0)


def tasks() -> list[Task]:
    puzzles = mdmkit.load("zoo:puzzles", device="cpu")
    return [bigram_task(), *(puzzle_task(name, puzzles) for name in texts.TASKS)]


@dataclass(frozen=True)
class Calmest:
    """Best of N: independent trajectories, the one with the lowest cumulative uncertainty H̃ is the answer."""

    particles: int = 8

    def move(self, step: Any, actions: Any, values: Any, choice: Any, look: Any) -> tuple[Any, Any]:
        return torch.arange(step.rows, device=choice.device), choice

    def best(self, canvas: Any, trace: Any, kept: Any) -> Any:
        return trace.uncertainty.view(-1, self.particles).argmin(1)


@dataclass(frozen=True)
class Noisy:
    """One action: the best positions under Gumbel noise on score / temperature, kept apart; 0 adds no noise."""

    temperature: float = 0.0
    spacing: int = 1

    def __call__(self, step: Any, scores: Any) -> Actions:
        wants = scores[:, None].double()
        if self.temperature:
            wants = wants / self.temperature + noise.gumbel(step.noise("noisy", 1))
        last = step.open.sum(1) <= step.quota
        place = spaced_top(wants, step.open[:, None], step.quota[:, None], Reach.of(step, self.spacing))[:, 0]
        return Actions.single(torch.where(last[:, None], step.open, place), step.tokens)


K_SCALED = {"reference": "matched", "normalise": "k_mean", "cost": "surprisal"}
TOTAL = {**K_SCALED, "normalise": "sum"}
SURPRISAL = {**TOTAL, "uncertainty": "surprisal"}


def gain(lookahead: dict[str, Any] | None = None, score: str = "confidence", **select: Any) -> dict[str, Any]:
    """Changes to the preset `info_gain`."""
    return {"preset": "info_gain", "score": score, "lookahead": lookahead or {}, "select": select}


def greedy(score: str = "confidence", spacing: int = 1) -> dict[str, Any]:
    return {"score": score, "select": Noisy(0.0, spacing)}


def best_of(n: int, temperature: float, score: str = "confidence", spacing: int = 1) -> dict[str, Any]:
    return {"score": score, "select": Noisy(temperature, spacing), "search": Calmest(n)}


def composed(case: dict[str, Any], task: Task, k: int) -> mdmkit.Sampler:
    nodes = {key: value for key, value in case.items() if key != "preset"}
    return mdmkit.compose(
        case.get("preset"), **nodes, plan={"tokens_per_step": k}, draw={"temperature": task.temperature}
    )


FREE = {"bypass": None}
TRIALS: dict[str, dict[str, Any]] = {
    "paper": gain(),
    "paper, certain=fixed": gain(certain="fixed"),
    "paper, certain=all": gain(certain="all"),
    "paper, no bypass": gain(**FREE),
    "K-scaled, entropy cost": gain({**K_SCALED, "cost": "entropy"}, **FREE),
    "K-scaled": gain(K_SCALED, **FREE),
    "K-scaled, certain=fixed": gain(K_SCALED, certain="fixed"),
    "K-scaled, gap=0.1": gain(K_SCALED, **FREE, gap=0.1),
    "K-scaled, positions=4": gain({**K_SCALED, "positions": 4}, **FREE),
    "K-scaled, tau=0.2": gain(K_SCALED, **FREE, position_temperature=0.2),
    "K-scaled, tau=0.4": gain(K_SCALED, **FREE, position_temperature=0.4),
    "K-scaled, margin": gain(K_SCALED, "margin", **FREE),
    "K-scaled, spacing=2": gain(K_SCALED, **FREE, spacing=2),
    "K-scaled, spacing=2, tau=0.4": gain(K_SCALED, **FREE, spacing=2, position_temperature=0.4),
    "K-scaled, spacing=2, tau=0.4, certain=fixed": gain(K_SCALED, certain="fixed", spacing=2, position_temperature=0.4),
    "total": gain(TOTAL, **FREE),
    "total, spacing=2, tau=0.4": gain(TOTAL, **FREE, spacing=2, position_temperature=0.4),
    "half total, spacing=2, tau=0.4": gain({**TOTAL, "gain_weight": 0.5}, **FREE, spacing=2, position_temperature=0.4),
    "half total in surprisal, spacing=2, tau=0.4": gain(
        {**SURPRISAL, "gain_weight": 0.5}, **FREE, spacing=2, position_temperature=0.4
    ),
    "K-scaled, uncertainty=surprisal, spacing=2, tau=0.4": gain(
        {**K_SCALED, "uncertainty": "surprisal"}, **FREE, spacing=2, position_temperature=0.4
    ),
    "total, spacing=2, tau=0.2": gain(TOTAL, **FREE, spacing=2, position_temperature=0.2),
    "total in surprisal": gain(SURPRISAL, **FREE),
    "total in surprisal, spacing=2": gain(SURPRISAL, **FREE, spacing=2),
    "total in surprisal, spacing=2, tau=0.2": gain(SURPRISAL, **FREE, spacing=2, position_temperature=0.2),
    "total in surprisal, spacing=2, tau=0.4": gain(SURPRISAL, **FREE, spacing=2, position_temperature=0.4),
    # Exactly the log-probability of the tokens and of the most probable ones everywhere else.
    "likelihood, spacing=2, tau=0.4": gain(
        {**SURPRISAL, "reference": "paper"}, **FREE, spacing=2, position_temperature=0.4
    ),
    "confidence": greedy(),
    "confidence, spacing=2": greedy(spacing=2),
    "margin, spacing=2": greedy("margin", 2),
    "best of 8, tau=0.1": best_of(8, 0.1),
    "best of 8, tau=0.3": best_of(8, 0.3),
    "best of 8, tau=0.1, spacing=2": best_of(8, 0.1, spacing=2),
    "best of 8, tau=0.3, spacing=2": best_of(8, 0.3, spacing=2),
}
REPORTED: dict[str, dict[str, Any]] = {
    "info_gain_plus": {"preset": "info_gain_plus"},  # the best of the trials: total in surprisal, spacing=2, tau=0.4
    "info_gain_plus, N=6": {"preset": "info_gain_plus", "select": {"candidates": 6}},
    "info_gain_plus, N=4": {"preset": "info_gain_plus", "select": {"candidates": 4}},
    "info_gain": TRIALS["paper"],
    "info_gain, no bypass": TRIALS["paper, no bypass"],
    "K-scaled": TRIALS["K-scaled"],
    "half total, spacing=2, tau=0.4": TRIALS["half total, spacing=2, tau=0.4"],
    "best of 6, tau=0.1": best_of(6, 0.1),
    "best of 6, tau=0.3": best_of(6, 0.3),
    "best of 6, tau=0.1, spacing=2": best_of(6, 0.1, spacing=2),
    "best of 6, tau=0.3, spacing=2": best_of(6, 0.3, spacing=2),
    "confidence": greedy(),
    "margin, spacing=2": greedy("margin", 2),
}
