"""An observer: print the row after each step."""

from __future__ import annotations

import mdmkit
from mdmkit import Component, Observer, hookimpl


class Typewriter(Observer):
    """Print the first row at work as it fills, one line per step."""

    def on_start(self, sampler, backbone):
        self.render = backbone.render

    def on_step(self, step, actions, choice):
        tokens, _ = step.states(actions)  # int64 [B, N, T]
        row = tokens[0, choice[0]][step.canvas.valid[0]]
        print(step.ids[0], "".join(self.render(token) for token in row.tolist()))


@hookimpl
def mdmkit_observer():
    return [Component("typewriter", Typewriter, "print the first row at work after each step")]


if __name__ == "__main__":
    sampler, backbone = mdmkit.compose("confidence"), mdmkit.load("zoo:puzzles")
    mdmkit.decode(sampler, backbone, ["7*8=_______"], observers=[Typewriter()])
