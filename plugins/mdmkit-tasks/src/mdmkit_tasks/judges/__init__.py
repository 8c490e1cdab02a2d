"""Judges of text answers. Each decides by readable rules if an answer is right."""
