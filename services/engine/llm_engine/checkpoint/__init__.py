"""What a model's folder holds: its configuration, its tokenizer and its weights, plain or quantised."""
