"""The engines' side.

connection, pool     HTTP/1.1: one connection; all of them
client, target       requests to an engine, and the errors of a failed exchange; an engine's address
refusal              answers that are errors
breaker, retry_budget   an engine that fails gets no requests for a while; retries cannot double the load
signals, tls         what an engine reports about itself; certificates
addresses            checks of the URLs and names of engines
interrupt            pull a request back from an engine
service_rate         the rate at which slots become free
"""
