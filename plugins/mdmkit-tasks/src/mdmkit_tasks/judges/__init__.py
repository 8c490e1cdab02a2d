"""Judges of answers in text: each says whether one is right, by rules that can be read."""
