"""The dashboard, its live stream and the HTTP API.

view       a board as one viewer sees it: its expressions, evaluated together, as compact columns
live       the stream: a view is evaluated once a cycle however many watch it, and a late viewer catches up
queries    where an expression is evaluated: in memory, on disk, or by a Prometheus
api        Prometheus's paths, for Grafana and scripts
pages      boards, annotations, export and state for the page
traces     spans by OTLP/HTTP, and a trace as a waterfall
security   host check, keys off loopback, the headers of every answer
static/    the page: plain modules, no build step
"""
