"""Published tasks: prompts for masked diffusion models, with data from the hub or a file."""
