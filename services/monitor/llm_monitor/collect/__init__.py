"""Scrape targets four times a second: engines, gateway, router, GPUs, and the monitor itself.

targets      a target, and the state of its last scrape
exposition   Prometheus's text format, read fast
fetch        one bounded HTTP request
scraper      the scrapes of one target
collector    the loop over all targets
collection   collector, discovery, GPUs and the monitor itself, as the settings say
discovery    targets in files, at routers and in Kubernetes
gpu          the machine's GPUs
"""

from llm_monitor.collect.collector import Collector
from llm_monitor.collect.targets import InvalidTarget, Target, TargetState, target_of

__all__ = ["Collector", "InvalidTarget", "Target", "TargetState", "target_of"]
