"""A door in the shape of transformers, for a model that is loaded already."""
