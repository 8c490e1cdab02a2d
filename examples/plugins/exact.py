"""How likely is what a sampler wrote? The chain knows exactly."""

import torch

import mdmkit

backbone = mdmkit.load("zoo:bigram")
prompt = "the king _ _ _ _ _ the people _ _ _ _ he said"
for name in ("left_to_right", "confidence", "info_gain"):
    row = mdmkit.decode(mdmkit.compose(name), backbone, [prompt], seed=0).rows[0]
    likelihood = backbone.chain.log_likelihood(torch.tensor([row.tokens])).item()
    print(f"{name:14} {likelihood:8.3f} nats  {row.text}")
best, likelihood = backbone.chain.viterbi(torch.tensor([backbone.tokens(prompt)]))
print(f"{'the best':14} {likelihood.item():8.3f} nats  {backbone.text(best[0].tolist())}")
