mdmkit decode --sampler info_gain --set plan.tokens_per_step=2
mdmkit decode --sampler info_gain --set select.bypass=null --set lookahead.reference=matched --set lookahead.normalise=k_mean --set plan.tokens_per_step=4
mdmkit decode --sampler info_gain --set draw.temperature=0.7 --set lookahead.cost=surprisal --seed 3
mdmkit decode --sampler future_entropy --set select.bypass=null
mdmkit decode --sampler info_gain@sudoku --set draw.end_penalty=0
