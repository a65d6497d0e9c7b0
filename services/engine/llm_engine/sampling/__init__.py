"""From logits to tokens: parameters, the sampler, reproducible randomness, log-probabilities."""
