mdmkit decode --model zoo:antibody --prompt EVQL --set plan.tokens_per_step=4 --sampler confidence
mdmkit decode --model zoo:bigram --prompt "the king" --set plan.length=12 --set draw.temperature=1 --seed 4
