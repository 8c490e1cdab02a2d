mdmkit show info_gain --config examples/tutorial/careful.yaml
mdmkit decode --config examples/tutorial/careful.yaml
mdmkit decode --config examples/tutorial/careful.yaml --set plan.tokens_per_step=1
