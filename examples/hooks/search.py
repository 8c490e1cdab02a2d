"""mdmkit decode --plugin examples/hooks/search.py --sampler confidence --set search=calmest --set draw.temperature=1"""

from dataclasses import dataclass

import torch

from mdmkit import Component, hookimpl


@dataclass(frozen=True)
class Calmest:
    """Of several independent trajectories keep the one with the lowest cumulative uncertainty."""

    particles: int = 4

    def move(self, step, actions, values, choice, look):
        return torch.arange(step.rows, device=choice.device), choice

    def best(self, canvas, trace, kept):
        return trace.uncertainty.view(-1, self.particles).argmin(1)


@hookimpl
def mdmkit_search():
    return [Component("calmest", Calmest, "the least uncertain of several trajectories")]
