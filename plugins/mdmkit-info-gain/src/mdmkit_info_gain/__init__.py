"""The Info-Gain Sampler (arXiv:2602.18176): fill positions that cost little now and tell much about the others."""
