"""`zoo:bigram`: a word-bigram chain as an exact masked diffusion model."""
