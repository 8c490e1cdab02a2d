mdmkit decode --plugin examples/hooks/constraint.py --sampler confidence --set constraint=no_repeat --set plan.tokens_per_step=2
