"""A request before it is queued and after it was sampled.

check, preparation     what can be refused or made ready without the engine's thread
choice, detokenizer    one answer: tokens to text, stop strings, the text not yet sent
outputs                what the caller gets
"""
