"""A request from its arrival to its last byte.

proxy          the handler: admit, attempt, answer, settle
job            the facts about one request, from its bytes
queue          bounded queues, one per model, and late binding to the engine that has room
demand         the queue as the autoscaler's signal, and scale from zero
attempt        one try at an engine, up to the first byte of its answer
passthrough    small requests that take no slot: tokenisation, the version
"""
