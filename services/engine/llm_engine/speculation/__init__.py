"""Speculative decoding: drafts from n-grams or from a small model, verified in one step of the large model."""
