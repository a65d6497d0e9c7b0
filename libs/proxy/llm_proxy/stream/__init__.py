"""A streamed answer.

filter          whole events, one [DONE], and no usage that the client did not request
token_counts    counts of tokens that an engine states
relay           the byte path from the engine to the client
transcript      the events that a client has received
resume          the request for the rest of an answer whose engine died
streaming       the whole of it: relay, resume, end
"""
