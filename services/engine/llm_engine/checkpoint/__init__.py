"""Reading a model folder: configuration, tokenizer, chat template and weights, plain or quantised."""
