mdmkit decode --prompts examples/tutorial/puzzles.jsonl --sampler left_to_right --set plan.tokens_per_step=2
mdmkit decode --prompts examples/tutorial/puzzles.jsonl --sampler confidence --set plan.tokens_per_step=2
mdmkit decode --prompts examples/tutorial/puzzles.jsonl --sampler info_gain --set plan.tokens_per_step=2
