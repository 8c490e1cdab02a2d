"""Scores and selects of the literature that need one forward per step."""
