"""The parts of this distribution."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_search() -> list[Component]:
    return [
        Component("best_of_n", "mdmkit_search.best_of_n:BestOfN", "the least uncertain of several trajectories"),
        Component("esmc", "mdmkit_search.esmc:EntropySMC", "particles, resampled towards states of low entropy"),
        Component("beam", "mdmkit_search.beam:Beam", "beams with the least cost so far plus uncertainty left"),
    ]


@hookimpl
def mdmkit_select() -> list[Component]:
    return [
        Component("lookum", "mdmkit_search.lookum:Paths", "sets of positions drawn from a pool of certain ones"),
        Component("lopa", "mdmkit_search.lopa:Branches", "a threshold step, and the same plus one more position each"),
        Component("freedave", "mdmkit_search.freedave:Drafts", "the states after one static step, two, three, …"),
    ]


@hookimpl
def mdmkit_lookahead() -> list[Component]:
    return [
        Component("lookum", "mdmkit_search.lookum:Verifier", "a draw by the certainty of the next state"),
        Component(
            "lopa", "mdmkit_search.lopa:BranchConfidence", "confidence in the extra token and in the open positions"
        ),
        Component(
            "freedave", "mdmkit_search.freedave:Verified", "the deepest draft that the static sampler reaches too"
        ),
    ]


@hookimpl
def mdmkit_sampler() -> list[Component]:
    presets = "mdmkit_search:presets"
    return [
        Component("best_of_n", f"{presets}/best_of_n.yaml", "the trajectory with the lowest uncertainty of 8"),
        Component("ebon", f"{presets}/ebon.yaml", "the trajectory with the lowest denoising entropy of 8"),
        Component("esmc", f"{presets}/esmc.yaml", "8 particles, resampled by denoising entropy"),
        Component("beam", f"{presets}/beam.yaml", "Info-Gain's objective in 2 beams of 4 candidates"),
        Component(
            "lookum", f"{presets}/lookum.yaml", "2 paths from a pool of 5, drawn by the entropy of their next states"
        ),
        Component("lookum_smc", f"{presets}/lookum_smc.yaml", "2 particles from a pool of 5, resampled at every step"),
        Component("lopa", f"{presets}/lopa.yaml", "threshold decoding that looks one extra token ahead"),
        Component("freedave", f"{presets}/freedave.yaml", "the tokens of confidence in fewer calls: drafts of 4 steps"),
    ]
