"""A request from its slot at an engine to its last byte.

proxy, passthrough       the handlers: requests that wait in the queue, and the few that go past it
attempt                  one try at an engine, hedged or not, up to the first byte of its answer
ledger                   the settlement of a finished request
"""
