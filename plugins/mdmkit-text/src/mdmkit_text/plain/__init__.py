"""A small decoder, its weights and its tokenizer, without transformers: the models of the zoo start faster with it."""
