"""The parts of this distribution."""

from __future__ import annotations

from mdmkit import Component, hookimpl

PACKAGE = "mdmkit_heuristics"


@hookimpl
def mdmkit_score() -> list[Component]:
    return [
        Component("confidence", f"{PACKAGE}.scores:Confidence", "probability of the token that would be written"),
        Component("entropy", f"{PACKAGE}.scores:Entropy", "negative entropy of the position"),
        Component("margin", f"{PACKAGE}.scores:Margin", "lead of the best token over the second"),
        Component("random", f"{PACKAGE}.scores:Random", "a uniform number per position"),
        Component("left_to_right", f"{PACKAGE}.scores:LeftToRight", "the leftmost open position first"),
        Component(
            "linear_position",
            f"{PACKAGE}.positional:LinearPosition",
            "a mix of confidence and position after the prompt",
        ),
        Component("pc", f"{PACKAGE}.positional:PC", "confidence, lower for common tokens and late positions"),
        Component("igfd", f"{PACKAGE}.frontier:IGFD", "confidence and need; near written tokens first"),
        Component("credit", f"{PACKAGE}.credit:Credit", "probability after credit for earlier steps"),
    ]


@hookimpl
def mdmkit_select() -> list[Component]:
    return [
        Component("top_k", f"{PACKAGE}.selects:TopK", "the best positions, as many as the quota"),
        Component("threshold", f"{PACKAGE}.selects:Threshold", "every position above a threshold, always at least one"),
        Component("factor", f"{PACKAGE}.bounded:Factor", "the n best, as long as their joint doubt is small"),
        Component(
            "frechet", f"{PACKAGE}.bounded:Frechet", "the n best, as long as they are the most probable together"
        ),
        Component(
            "entropy_bound", f"{PACKAGE}.bounded:EntropyBound", "the longest run of the best within an entropy bound"
        ),
        Component(
            "mean_field",
            f"{PACKAGE}.mean_field:MeanField",
            "positions that are sure even after similar positions have inhibited one another",
        ),
        Component("low_entropy", f"{PACKAGE}.bounded:LowEntropy", "every position of low entropy, always at least one"),
        Component(
            "block_refinement", f"{PACKAGE}.bounded:BlockRefinement", "every confident position, or the best by quota"
        ),
        Component(
            "klass", f"{PACKAGE}.stable:Klass", "every confident position that no longer changes, or the best by quota"
        ),
        Component(
            "less",
            f"{PACKAGE}.persistent:Less",
            "every confident position whose most probable tokens persist, or the best by quota",
        ),
        Component("local_leap", f"{PACKAGE}.local:LocalLeap", "sure positions, and less sure ones near them"),
        Component("slow_fast", f"{PACKAGE}.cycles:SlowFast", "cycles that are explored slowly and filled fast"),
        Component("dilated", f"{PACKAGE}.local:Dilated", "positions on a stride that shrinks"),
        Component("spaced", f"{PACKAGE}.local:Spaced", "the best positions, no two of them neighbours"),
        Component(
            "credit",
            f"{PACKAGE}.credit:CreditThreshold",
            "every position that is confident after credit for earlier steps",
        ),
        Component("p2", f"{PACKAGE}.remask:P2Fill", "the open positions that path planning keeps"),
        Component("saber", f"{PACKAGE}.remask:SaberFill", "positions more confident than the written tokens were"),
        Component("wino", f"{PACKAGE}.wino:WinoFill", "every position above a low threshold, up to a bound"),
        Component(
            "dawn",
            f"{PACKAGE}.dawn:Dawn",
            "sure positions, and less sure ones that attention allows",
        ),
        Component("adablock", f"{PACKAGE}.adablock:AdaBlock", "sure positions of blocks that end at a delimiter"),
        Component("daedal", f"{PACKAGE}.daedal:DaedalFill", "sure positions of a row that commit daedal lets grow"),
    ]


@hookimpl
def mdmkit_commit() -> list[Component]:
    return [
        Component("remdm", f"{PACKAGE}.remask:ReMDM", "mask written tokens again at random"),
        Component("p2", f"{PACKAGE}.remask:P2Remask", "mask what path planning ranks lowest"),
        Component("saber", f"{PACKAGE}.remask:SaberBacktrack", "mask what lost most probability"),
        Component("wino", f"{PACKAGE}.wino:WinoVerify", "mask what its shadow finds improbable"),
        Component("edit", f"{PACKAGE}.edit:Edit", "replace written tokens by more probable ones"),
        Component("daedal", f"{PACKAGE}.daedal:DaedalGrow", "let a row grow to its end, and where it is in doubt"),
    ]


@hookimpl
def mdmkit_stop() -> list[Component]:
    return [
        Component("prophet", f"{PACKAGE}.exits:Prophet", "end when the margins pass the threshold of the third"),
        Component("sched", f"{PACKAGE}.exits:Sched", "end when the margins pass a threshold that falls"),
    ]


@hookimpl
def mdmkit_sampler() -> list[Component]:
    return [
        Component("confidence", f"{PACKAGE}:presets/confidence.yaml", "most confident positions first"),
        Component("entropy", f"{PACKAGE}:presets/entropy.yaml", "lowest-entropy positions first"),
        Component("margin", f"{PACKAGE}:presets/margin.yaml", "widest margins first"),
        Component("random", f"{PACKAGE}:presets/random.yaml", "positions in random order"),
        Component("left_to_right", f"{PACKAGE}:presets/left_to_right.yaml", "autoregressive order"),
        Component(
            "frontier", f"{PACKAGE}:presets/frontier.yaml", "most confident of the leftmost open positions first"
        ),
        Component(
            "dream",
            f"{PACKAGE}:presets/dream.yaml",
            "Dream's decoder: entropy over the 50 best tokens, its own schedule",
        ),
        Component(
            "linear_position",
            f"{PACKAGE}:presets/linear_position.yaml",
            "confidence mixed with the position after the prompt",
        ),
        Component("pc", f"{PACKAGE}:presets/pc.yaml", "the PC-Sampler: rare, confident, early tokens first"),
        Component(
            "igfd", f"{PACKAGE}:presets/igfd.yaml", "near written tokens, where the neighbourhood is most uncertain"
        ),
        Component("threshold", f"{PACKAGE}:presets/threshold.yaml", "all positions at or above 0.9 at once"),
        Component(
            "factor", f"{PACKAGE}:presets/factor.yaml", "as many positions at once as keep their joint doubt small"
        ),
        Component(
            "frechet",
            f"{PACKAGE}:presets/frechet.yaml",
            "as many positions at once as are surely the most probable together",
        ),
        Component(
            "entropy_bound",
            f"{PACKAGE}:presets/entropy_bound.yaml",
            "as many positions at once as an entropy bound allows",
        ),
        Component(
            "mean_field",
            f"{PACKAGE}:presets/mean_field.yaml",
            "positions that are sure even after similar ones have inhibited one another",
        ),
        Component("med", f"{PACKAGE}:presets/med.yaml", "all positions of entropy at most 0.2 nats at once"),
        Component(
            "block_refinement",
            f"{PACKAGE}:presets/block_refinement.yaml",
            "all positions above 0.95, or the best by quota",
        ),
        Component(
            "klass", f"{PACKAGE}:presets/klass.yaml", "sure positions that no longer change, or the best by quota"
        ),
        Component(
            "less",
            f"{PACKAGE}:presets/less.yaml",
            "confident positions whose most probable tokens persist, or the best by quota",
        ),
        Component("local_leap", f"{PACKAGE}:presets/local_leap.yaml", "sure positions, and less sure ones near them"),
        Component("slow_fast", f"{PACKAGE}:presets/slow_fast.yaml", "cycles that are explored slowly and filled fast"),
        Component("dus", f"{PACKAGE}:presets/dus.yaml", "dilated groups: a block of B in log B steps"),
        Component(
            "spaced", f"{PACKAGE}:presets/spaced.yaml", "most confident positions first, no two neighbours at once"
        ),
        Component(
            "credit", f"{PACKAGE}:presets/credit.yaml", "all positions at or above 0.9 after credit for earlier steps"
        ),
        Component("remdm", f"{PACKAGE}:presets/remdm.yaml", "ancestral sampling with tokens masked again (cap)"),
        Component("remdm_rescale", f"{PACKAGE}:presets/remdm_rescale.yaml", "ReMDM, rescaled"),
        Component("remdm_conf", f"{PACKAGE}:presets/remdm_conf.yaml", "ReMDM, by the confidence at writing"),
        Component("remdm_loop", f"{PACKAGE}:presets/remdm_loop.yaml", "ReMDM, in a loop at 90 % filled"),
        Component("p2", f"{PACKAGE}:presets/p2.yaml", "path planning by the model's own probabilities"),
        Component("saber", f"{PACKAGE}:presets/saber.yaml", "adaptive parallel decoding with backtracking"),
        Component(
            "wino",
            f"{PACKAGE}:presets/wino.yaml",
            "many positions at once; what the others do not support is masked again",
        ),
        Component(
            "dawn",
            f"{PACKAGE}:presets/dawn.yaml",
            "many positions at once, of which none depend on one another by attention",
        ),
        Component(
            "adablock",
            f"{PACKAGE}:presets/adablock.yaml",
            "all positions at or above 0.9 at once, in blocks that end with a line",
        ),
        Component(
            "daedal",
            f"{PACKAGE}:presets/daedal.yaml",
            "all positions above 0.9 at once, in a row that grows as far as the answer needs",
        ),
        Component("edit", f"{PACKAGE}:presets/edit.yaml", "block refinement with written tokens edited"),
        Component(
            "prophet",
            f"{PACKAGE}:presets/prophet.yaml",
            "confident first, and all at once when sure (three thresholds)",
        ),
        Component(
            "sched",
            f"{PACKAGE}:presets/sched.yaml",
            "lowest entropy first, and all at once when sure (a threshold that falls)",
        ),
    ]


@hookimpl
def mdmkit_command() -> list[Component]:
    return [
        Component("corpus", f"{PACKAGE}.corpus:corpus", "count a corpus with a model's tokenizer"),
    ]
