mdmkit decode --plugin examples/hooks/select.py --sampler confidence --set select=huddle --set plan.tokens_per_step=2
