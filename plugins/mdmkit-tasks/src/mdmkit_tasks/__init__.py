"""Tasks, judges, and the commands that evaluate and compare samplers."""
