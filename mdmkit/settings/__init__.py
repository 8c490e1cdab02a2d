"""What a user sets: the plan, the draw, guidance. Nothing here imports torch."""
