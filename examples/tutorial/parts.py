"""Four ways to say the same sampler."""

import mdmkit

overrides = ["select.bypass=0.95", "score=margin"]
samplers = [
    mdmkit.compose("info_gain", select={"bypass": 0.95}, score="margin"),
    mdmkit.compose("info_gain", overrides=overrides),
    mdmkit.compose(config={"sampler": "info_gain", "score": "margin", "select": {"bypass": 0.95}}),
]
samplers.append(mdmkit.compose(config=samplers[0].config))  # a stored result holds this, so it can be replayed

assert all(sampler.config == samplers[0].config for sampler in samplers)
for key, value in samplers[0].config.items():
    print(f"{key}: {value}")
