"""Tasks that others publish: prompts written for masked diffusion models, data from the hub or a file."""
