"""Towards the engines.

client, connection, pool, tls     HTTP/1.1 on kept-alive connections
attempt, retry_budget             one try at an engine, hedged or not, and how many tries there may be
refusal                           answers that are errors, whatever their status says
streaming, relay, stream_filter   a streamed answer, chunk by chunk, and the bytes of it that the client gets
transcript, replay                what the client has had, and how its stream goes on at another engine
token_counts                      an engine's `usage`
"""
