"""What the parts of a sampler read and return."""
