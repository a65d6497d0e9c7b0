"""Target groups: the format of Prometheus's file and HTTP service discovery.

    [{"targets": ["10.0.0.1:8000"], "labels": {"job": "engine", "zone": "a", "__metrics_path__": "/metrics"}}]

https://prometheus.io/docs/prometheus/latest/http_sd/#http_sd-format
"""

from __future__ import annotations

from typing import Any

from llm_monitor.collect.targets import InvalidTarget, Job, Target, target_of

MAX_TARGETS = 1_000


def targets_of(groups: Any, job: Job = "") -> list[Target]:
    """Return the targets of all groups; `job` is that of groups without one. Raises InvalidTarget."""
    if not isinstance(groups, list):
        raise InvalidTarget(f"expected a list of target groups, found a {type(groups).__name__}")
    found = [target for group in groups for target in _targets_of_group(group, job)]
    if len(found) > MAX_TARGETS:
        raise InvalidTarget(f"{len(found)} targets; {MAX_TARGETS} are allowed")
    return found


def _targets_of_group(group: Any, job: Job) -> list[Target]:
    if not isinstance(group, dict) or not isinstance(group.get("targets"), list):
        raise InvalidTarget("a target group is a mapping with a list of `targets`")
    labels = {} if group.get("labels") is None else group["labels"]
    if not isinstance(labels, dict) or not all(isinstance(text, str) for pair in labels.items() for text in pair):
        raise InvalidTarget("the labels of a target group are a mapping of text to text")
    scheme, path = labels.get("__scheme__", "http"), labels.get("__metrics_path__", "/metrics")
    shown = {name: value for name, value in labels.items() if not name.startswith("__") and name != "job"}
    return [
        _target(address, f"{scheme}://{address}{path}", labels.get("job", job), shown) for address in group["targets"]
    ]


def _target(address: Any, url: str, job: Job, labels: dict[str, str]) -> Target:
    if not isinstance(address, str) or "/" in address:
        raise InvalidTarget(f"{address!r} is no target of a group; it is host:port")
    return target_of(url, job, labels)
