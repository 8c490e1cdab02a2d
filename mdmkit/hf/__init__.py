"""`wrap` and `generate` with the conventions of transformers, for a model that is loaded already."""
