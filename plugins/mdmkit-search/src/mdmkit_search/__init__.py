"""Search over decoding trajectories: several of them side by side, or several next states at each step."""
