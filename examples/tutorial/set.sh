mdmkit decode --sampler info_gain --set select.candidates=4 --set plan.tokens_per_step=2
mdmkit decode --sampler info_gain --set score=margin
mdmkit decode --sampler confidence --set "select={name: top_k, temperature: 0.1}"
