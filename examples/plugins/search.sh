mdmkit decode --sampler beam --set plan.tokens_per_step=2
mdmkit decode --sampler info_gain --set search=best_of_n --set search.particles=4 --set draw.temperature=0.7 --seed 3
mdmkit decode --sampler esmc --set search.every=1 --set search.strength=20 --set draw.temperature=1 --seed 3
mdmkit decode --sampler lookum --set plan.tokens_per_step=2 --set select.paths=3 --seed 3
mdmkit decode --sampler lopa --set select.branches=3 --set select.threshold=0.95 --set lookahead.weight=0 --set lookahead.lowest=1
