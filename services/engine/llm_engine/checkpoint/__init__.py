"""A model's folder: its configuration, its tokenizer and its weights, plain or quantised."""
