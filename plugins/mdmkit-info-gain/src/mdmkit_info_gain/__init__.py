"""The Info-Gain Sampler (arXiv:2602.18176): act where it is cheap now and informative about the rest."""
