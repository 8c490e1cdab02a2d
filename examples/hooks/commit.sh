mdmkit decode --plugin examples/hooks/commit.py --sampler confidence --set commit=reconsider --set plan.tokens_per_step=4
