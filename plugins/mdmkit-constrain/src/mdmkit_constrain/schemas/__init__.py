"""JSON schemas as patterns of texts."""
