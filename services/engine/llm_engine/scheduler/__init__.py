"""The scheduler: which tokens the next step computes.

sequence      one request inside the engine
scheduler     continuous batching and chunked prefill: decodes and prefill chunks share one token budget per step
policies      scheduling order, preemption victim and eviction, each a small function
overlap       the next step is launched while the device still computes the last one
placeholders  token ids for tokens that are still being drawn
"""
