"""Traces that the pages replay: recordings of our own engine and gateway, packed into small scripts.

recordings.yaml   what is recorded: engine settings and workload of each
workloads         the requests of a recording
engine            runs the engine step by step
live              runs client, gateway and engine together
pack              the trace's events in little space, and back
files             docs/assets/traces/NAME.js
"""
