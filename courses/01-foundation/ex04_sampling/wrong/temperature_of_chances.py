"""Fails test_temperature_sharpens_and_flattens: temperature divides chances instead of logits, and cancels."""


def probabilities(logits: Row, temperature: float = 1.0) -> Row:
    weights = np.exp(logits - logits.max()) / temperature
    return weights / weights.sum()
