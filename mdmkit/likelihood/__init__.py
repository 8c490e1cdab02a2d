"""How likely a model finds given texts."""
