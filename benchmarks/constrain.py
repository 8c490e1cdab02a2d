"""Words of `zoo:bigram` that have exactly 32 characters: how probable are the answers, by mode of the constraint?

    python benchmarks/constrain.py [--rows 400]

The chain knows its own likelihoods, and rejection draws from its true conditional distribution: words are drawn until
they have 32 characters. All draws are of 8 words after `in the beginning`, at temperature 1. Prints a table: mean
log-likelihood of an answer, in nats, with its standard error. One thread, fp32.
"""

from __future__ import annotations

import click
import torch

import mdmkit

PATTERN, LENGTH, PROMPT = ".{32}", 8, "in the beginning"


def row(name: str, k: str, values: list[float], matched: float) -> str:
    each = torch.tensor(values, dtype=torch.float64)
    return f"| {name} | {k} | {100 * matched:.1f} | {each.mean():.2f} ± {each.std() / len(each) ** 0.5:.2f} |"


def likelihoods(backbone: mdmkit.Backbone, answers: torch.Tensor) -> list[float]:
    """The log-likelihood of answers, int64 [n, T], given the prompt."""
    chain = backbone.chain  # type: ignore[attr-defined]
    prompt = answers[:1].clone()
    prompt[:, -LENGTH:] = chain.mask_id
    return (chain.log_likelihood(answers) - chain.log_likelihood(prompt)).tolist()


@click.command()
@click.option("--rows", default=400, show_default=True)
def main(rows: int) -> None:
    torch.set_num_threads(1)
    backbone = mdmkit.load("zoo:bigram")
    print("| draws | tokens a step | 32 characters, % | log-likelihood |\n|---|---|---|---|")
    for mode in (None, "mask", "exact"):
        for k in (1, 2, 4):
            rule = mode and {"name": "regex", "pattern": PATTERN, "mode": mode}
            settings = {"plan": {"length": LENGTH, "tokens_per_step": k}, "draw": {"temperature": 1.0}}
            sampler = mdmkit.compose("random", constraint=rule, **settings)
            decoded = mdmkit.decode(sampler, backbone, [PROMPT] * rows, batch=64).rows
            answers = torch.tensor([each.trace["tokens"] for each in decoded])
            matched = sum(len(each.text) == 32 for each in decoded) / rows
            print(row(mode or "no constraint", str(k), likelihoods(backbone, answers), matched), flush=True)
    prompt = torch.tensor([backbone.encode([mdmkit.Prompt(text=PROMPT)], sampler.plan)[0].tokens[0].tolist()])
    drawn = backbone.chain.sample(prompt, 40 * rows)[0]  # type: ignore[attr-defined]
    fits = [each for each in drawn if len(backbone.text(each[-LENGTH:].tolist())) == 32]  # type: ignore[attr-defined]
    print(row("rejection", "—", likelihoods(backbone, torch.stack(fits[:rows])), len(fits) / len(drawn)))


if __name__ == "__main__":
    main()
