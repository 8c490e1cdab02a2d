"""Constraints that hold in any order of filling: a regular expression, one of several texts, a set of tokens."""
