"""An observer: print the row after each step."""

from __future__ import annotations

import mdmkit
from mdmkit import Component, Observer, hookimpl


class Typewriter(Observer):
    """Print row 0 as it fills, one line per step."""

    def on_start(self, sampler, backbone, canvas):
        self.render = backbone.render

    def on_step(self, step, actions, choice):
        row = actions.written(step.canvas, step.span)[0, choice[0]]  # int64 [T]
        print("".join(self.render(token) for token in row[step.canvas.valid[0]].tolist()))


@hookimpl
def mdmkit_observer():
    return [Component("typewriter", Typewriter, "print the first row after each step")]


if __name__ == "__main__":
    sampler, backbone = mdmkit.compose("confidence"), mdmkit.load("zoo:puzzles")
    mdmkit.decode(sampler, backbone, ["7*8=_______"], observers=[Typewriter()])
