"""What is kept on disk: automata of patterns, and tables for models."""
