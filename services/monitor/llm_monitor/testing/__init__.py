"""Test doubles, also used by the benchmarks. Nothing here is imported by the monitor itself.

exporter   a target's /metrics, from the contract's metrics
fleet      engines, a gateway and a router under a scripted load, each a target of its own
chromium   a headless Chromium, driven by its DevTools protocol
"""
