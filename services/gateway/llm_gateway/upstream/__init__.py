"""HTTP towards the engines.

client              requests to an engine, and what their failures mean
connection, pool    HTTP/1.1 on kept-alive connections
refusal             answers that are errors, whatever their status says
stream_filter       the events of a stream that the client gets
token_counts        the `usage` that an engine states
retry_budget        a bound on retries
"""
