"""What a part of a sampler reads and returns."""
