"""How the small models of this repository are made: corpus, tokenizer, training, evaluation, model card."""
