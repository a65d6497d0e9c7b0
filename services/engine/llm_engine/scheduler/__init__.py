"""The scheduler: which tokens the next step computes.

sequence      one request inside the engine
scheduler     one token budget a step, shared by decodes and prefill chunks: continuous batching and chunked prefill
policies      order, preemption victim and eviction, each a small function
overlap       the next step is launched while the device still computes the last one
placeholders  token ids for tokens that are still being drawn
"""
