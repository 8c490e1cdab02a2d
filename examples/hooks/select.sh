mdmkit decode --plugin examples/hooks/selecting.py --sampler confidence --set select=huddle --set plan.tokens_per_step=2
