"""The engines as targets of Prometheus, in the format of its HTTP service discovery.

https://prometheus.io/docs/prometheus/latest/http_sd/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_router.fleet.engine import Engine


def targets(engines: Iterable[Engine]) -> list[dict[str, Any]]:
    """Return one target group per engine: its address, and labels that say which replica it is."""
    return [{"targets": [engine.base.authority], "labels": _labels(engine)} for engine in engines]


def _labels(engine: Engine) -> dict[str, str]:
    info = engine.info
    labels = {
        "__scheme__": engine.base.scheme,
        "__metrics_path__": engine.url("/metrics").raw_path,
        "model": info.model,
        "engine": engine.shown,
        "version": info.version,
        "node": info.node,
        "gpus": ",".join(info.gpus),
    }
    return {name: value for name, value in labels.items() if value}
