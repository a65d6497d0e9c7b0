"""From logits to tokens: sampling parameters, the sampler, reproducible randomness, log-probabilities."""
