"""A task: prompts from a seed, and a judge of the answers."""

from __future__ import annotations

import random

import mdmkit
from mdmkit import Component, hookimpl


class Products:
    """Multiply two digits; the product is binary, in seven digits."""

    def prompts(self, count, seed):
        rng = random.Random(seed)
        return [f"{rng.randint(2, 9)}*{rng.randint(2, 9)}=_______" for _ in range(count)]

    def judge(self, prompt, answer):
        factors, _, product = answer.partition("=")
        a, _, b = factors.partition("*")
        return (
            answer.startswith(prompt.rstrip("_"))
            and set(product) <= set("01")
            and int(a) * int(b) == int(product or "0", 2)
        )


@hookimpl
def mdmkit_task():
    return [Component("products", Products, "a digit times a digit, in binary")]


if __name__ == "__main__":
    task = Products()
    sampler, backbone = mdmkit.compose("confidence"), mdmkit.load("zoo:puzzles")
    prompts = task.prompts(20, seed=0)
    texts = mdmkit.decode(sampler, backbone, prompts, seed=0).texts
    solved = sum(map(task.judge, prompts, texts))
    print(f"{solved} of {len(prompts)} products are right")
