"""Training of this repository's small models: corpus, tokenizer, training, evaluation, model card."""
