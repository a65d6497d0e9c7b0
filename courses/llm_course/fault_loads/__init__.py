"""One load for each fault, sent to a running engine, and what its answers, metrics, log and trace show of it.

client    ask the engine, hang up on it, read its metrics
trace     questions to the engine's step trace
answers, aborts, waiting    the loads, by what goes wrong: texts, hang-ups, requests that wait
show      start the engine, send the load, print what was seen
"""
