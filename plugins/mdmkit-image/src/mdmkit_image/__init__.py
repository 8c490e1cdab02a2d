"""Image backbones: a canvas of codebook tokens, in diffusers' own model classes."""
