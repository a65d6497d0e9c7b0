"""A request before it is queued and after its tokens are sampled.

check, preparation     refuse or prepare a request without the engine's thread
choice, detokenizer    one answer: tokens to text, stop strings, the text not yet sent
outputs                the results that the caller gets
"""
