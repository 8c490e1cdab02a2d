"""Context-free grammars as automata of some of their texts."""
