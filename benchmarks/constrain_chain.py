"""What `benchmarks/constrain.py` measures on zoo:bigram, whose true distribution under a rule is known."""

from __future__ import annotations

import itertools
import math
from functools import cache
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

import mdmkit

COUNTS = (1, 2, 4)
ORDERS = ("random", "confidence")
# The choices of a rule, and the words of each.
CHOICES, WORDS = 24, 4
PROMPTS = ("in the beginning", "he said to them,", "and it happened", "the king of", "you shall not", "when he had")
PATTERN, LENGTH = ".{32}", 8


def sampler(order: str, k: int, length: int, rule: dict[str, Any] | None) -> mdmkit.Sampler:
    plan = {"length": length, "tokens_per_step": k}
    return mdmkit.compose(order, constraint=rule, plan=plan, draw={"temperature": 1.0})


def encoded(backbone: Any, prompt: str, length: int) -> Tensor:
    """The prompt and masks behind it: int64 [1, T]."""
    plan = mdmkit.Plan(length=length)
    return backbone.encode([mdmkit.Prompt(text=prompt)], plan)[0].tokens


# -- choices: the whole distribution is known --------------------------------------------------------------------------


def choices_of(backbone: Any, prompt: str, seed: int) -> tuple[Tensor, Tensor]:
    """Different answers that the chain has drawn, int64 [N, T], and their log-probabilities given the prompt, [N]."""
    row = encoded(backbone, prompt, WORDS)
    drawn = backbone.chain.sample(row, 400, seed=seed)[0]
    every = torch.tensor(list(dict.fromkeys(map(tuple, drawn.tolist())))[:CHOICES])
    return every, backbone.chain.log_likelihood(every) - backbone.chain.log_likelihood(row)


def divergence(counts: Tensor, logs: Tensor) -> tuple[float, float]:
    """KL from the drawn distribution to the true one, nats, less the bias (S − 1) / 2n (Miller, 1955); its error."""
    n, share = counts.sum(), counts / counts.sum()
    seen = counts > 0
    each = share[seen].log() - logs.log_softmax(0)[seen]
    value = (share[seen] * each).sum()
    error = ((share[seen] * (each - value) ** 2).sum() / n).sqrt()
    return float(value - (seen.sum() - 1) / (2 * n)), float(error)


def rejected(backbone: Any, answers: Tensor, order: str, k: int) -> tuple[float, float]:
    """Draws without a rule that are thrown away until they are one of the answers.

    Returns:
        KL from their distribution to the true one, nats, and their probability before any is thrown away; both are
        sums over all orders of filling, and exact.
    """
    chain = backbone.chain
    row = answers[:1].clone()
    row[:, -WORDS:] = chain.mask_id
    truth = chain.log_likelihood(answers).double()
    chances = torch.tensor([_chance(chain, row[0], answer, order, k) for answer in answers], dtype=torch.float64)
    kept = chances.log().log_softmax(0)
    return float((kept.exp() * (kept - truth.log_softmax(0))).sum()), float(chances.sum())


def _chance(chain: Any, row: Tensor, answer: Tensor, order: str, k: int) -> float:
    """The probability that steps of k words write the answer, whatever they fill first.

    `confidence` fills the positions whose drawn words are the most probable ones.
    """

    @cache
    def after(filled: frozenset[int]) -> float:
        left = [place for place in range(-WORDS, 0) if place not in filled]
        if not left:
            return 1.0
        now = row.clone()
        now[[*filled]] = answer[[*filled]]
        belief = chain.marginals(now[None])[0].double().exp()
        own = {place: float(belief[place, answer[place]]) for place in left}
        total = 0.0
        for places in itertools.combinations(left, k):
            chance = math.prod(own[place] for place in places) * after(filled | {*places})
            if order == "confidence":
                least = min(own[place] for place in places)
                chance *= math.prod(_below(belief[place], least) for place in left if place not in places)
            else:
                chance /= math.comb(len(left), k)
            total += chance
        return total

    return after(frozenset())


def _below(belief: Tensor, bound: float) -> float:
    """The probability that a drawn word is less probable than `bound`; of equal ones, half."""
    return float(belief[belief < bound].sum() + belief[belief == bound].sum() / 2)


def choices(backbone: Any, rows: int) -> list[dict[str, Any]]:
    """How far from the true distribution answers under `choices` are, each cell a mean over the prompts."""
    asked = [(prompt, *choices_of(backbone, prompt, seed)) for seed, prompt in enumerate(PROMPTS)]
    out = []
    for order, k in itertools.product(ORDERS, COUNTS):
        for mode in ("exact", "mask"):
            found = []
            for seed, (prompt, answers, logs) in enumerate(asked):
                of = [backbone.text(answer[-WORDS:].tolist()) for answer in answers]
                made = sampler(order, k, WORDS, {"name": "choices", "of": of, "mode": mode})
                decoded = mdmkit.decode(made, backbone, [prompt] * rows, batch=256, seed=1000 + seed).rows
                place = {text: i for i, text in enumerate(of)}
                drawn = torch.tensor([place[row.text] for row in decoded])
                found.append(divergence(torch.bincount(drawn, minlength=len(of)).double(), logs.double()))
            error = math.sqrt(sum(error**2 for _, error in found)) / len(found)
            kl = mean(value for value, _ in found)
            out.append({"order": order, "k": k, "draws": mode, "kl": kl, "error": error, "kept": 1.0})
        found = [rejected(backbone, answers, order, k) for _, answers, _ in asked]
        kl, kept = (mean(each) for each in zip(*found, strict=True))
        out.append({"order": order, "k": k, "draws": "rejection", "kl": kl, "error": 0.0, "kept": kept})
        print(out[-3:], flush=True)
    return out


# -- a length in characters: log-likelihood ----------------------------------------------------------------------------


def lengths(backbone: Any, prompts: int, rows: int) -> list[dict[str, Any]]:
    """Log-likelihood of answers of 32 characters, by prompt: a mean over `rows` answers."""
    blank = torch.full((1, 3), backbone.mask_id)
    asked = [backbone.text(ids.tolist()) for ids in backbone.chain.sample(blank, prompts, seed=5)[0]]
    out = []
    for mode, k in itertools.product(("none", "mask", "exact"), COUNTS):
        rule = None if mode == "none" else {"name": "regex", "pattern": PATTERN, "mode": mode}
        every = [prompt for prompt in asked for _ in range(rows)]
        decoded = mdmkit.decode(sampler("random", k, LENGTH, rule), backbone, every, batch=200, seed=7).rows
        logs = _likelihoods(backbone, torch.tensor([row.trace["tokens"] for row in decoded]))
        kept = mean(len(row.text) == 32 for row in decoded)
        out.append({"draws": mode, "k": k, "kept": kept, "logs": logs.view(prompts, rows).mean(1).tolist()})
        print(mode, k, kept, mean(out[-1]["logs"]), flush=True)
    out.append(_lengths_of_chain(backbone, asked, rows))
    return out


def _lengths_of_chain(backbone: Any, asked: list[str], rows: int) -> dict[str, Any]:
    """The same of answers that the chain itself draws, thrown away until they have 32 characters."""
    logs, shares = [], []
    for seed, prompt in enumerate(asked):
        drawn = backbone.chain.sample(encoded(backbone, prompt, LENGTH), 100 * rows, seed=seed)[0]
        fits = [each for each in drawn if len(backbone.text(each[-LENGTH:].tolist())) == 32]
        logs.append(_likelihoods(backbone, torch.stack(fits)).mean().item())
        shares.append(len(fits) / len(drawn))
    return {"draws": "rejection", "k": None, "kept": mean(shares), "logs": logs}


def _likelihoods(backbone: Any, answers: Tensor) -> Tensor:
    """The log-likelihood of answers, int64 [n, T], given the prompt: [n], nats."""
    prompt = answers.clone()
    prompt[:, -LENGTH:] = backbone.mask_id
    return (backbone.chain.log_likelihood(answers) - backbone.chain.log_likelihood(prompt)).double()


def summary(values: list[float]) -> tuple[float, float]:
    """Mean and standard error."""
    return mean(values), stdev(values) / math.sqrt(len(values))
