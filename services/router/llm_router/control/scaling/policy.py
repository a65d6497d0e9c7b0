"""The number of engines that the load needs.

    engines = max( ⌈(running + waiting + queued at edges) / target⌉, ⌈Σ KV usage / 0.9⌉, 1 if a ticket waits )

Up at once. Down to the peak of the last seconds only, and not while an engine that was ordered is still starting:
Serve would stop that one first. The formula yields a total, not an increment, so starting engines count as capacity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

KV_USAGE_LIMIT = 0.9
"""Mean KV-cache usage above which another engine is needed."""
START_SECONDS = 120.0
"""Time after a scale-up in which a missing engine is taken to be starting. One that waits for a GPU is not."""
FRESH_SECONDS = 3.0
"""Older reports of replicas do not count."""
QUEUE_KEY = "queue:"
"""Prefix of the metric with the requests that wait at an edge; the edge's id follows."""
PEAKS = "llm_router_peaks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load of one model now."""

    running: float = 0
    waiting: float = 0
    queued: float = 0
    """Requests that wait at edges."""
    kv_usage: float = 0
    """Sum over the engines, each from 0 to 1."""
    tickets: float = 0
    """Calls that edges hold open because there is no engine."""


def needed(load: Load, target: float) -> int:
    """Return the number of engines for a load, bounds and history aside."""
    requests = load.running + load.waiting + load.queued
    return max(
        math.ceil(requests / target),
        math.ceil(load.kv_usage / KV_USAGE_LIMIT),
        1 if requests + load.tickets > 0 else 0,
    )


def decide(want: int, peaks: Sequence[int], *, ordered: int, running: int, starting: bool) -> int:
    """Return the number to order: what is wanted, or the recent peak if that is more.

    `ordered` is the present order. It is not lowered while `starting`, as long as fewer engines run than are ordered.
    """
    wanted = max([want, *peaks])
    if wanted < ordered and starting and running < ordered:
        return ordered
    return wanted


def policy(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """Decide for one deployment; Serve calls it in each cycle of its control loop."""
    now = context.current_time or 0.0
    config = context.config
    assert config is not None
    want = needed(
        load_of(context.raw_metrics or {}, context.total_queued_requests or 0, now), config.target_ongoing_requests
    )
    window = config.downscale_delay_s
    peaks = [(when, count) for when, count in context.policy_state.get(PEAKS, ()) if now - window <= when]
    peaks = [*[(when, count) for when, count in peaks if count > want], (now, want)]
    starting = context.last_scale_up_time is not None and now - context.last_scale_up_time < START_SECONDS
    order = decide(
        want,
        [count for _, count in peaks],
        ordered=context.target_num_replicas,
        running=context.current_num_replicas,
        starting=starting,
    )
    low, high = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
    return max(low, min(high, order)), {PEAKS: peaks}


def load_of(metrics: Mapping[str, Mapping[Any, Iterable[Any]]], tickets: float, now: float) -> Load:
    """Return the load from the newest values that each replica reported: metric -> replica -> series of values.

    Each edge reports its queue to any one replica: the maximum over the replicas counts, then the sum over the edges.
    """
    newest = {
        name: {replica: value for replica, series in replicas.items() if (value := _newest(series, now)) is not None}
        for name, replicas in metrics.items()
    }
    queues = [max(values.values()) for name, values in newest.items() if name.startswith(QUEUE_KEY) and values]
    return Load(
        running=sum(newest.get("running", {}).values()),
        waiting=sum(newest.get("waiting", {}).values()),
        kv_usage=sum(newest.get("kv_usage", {}).values()),
        queued=sum(queues),
        tickets=tickets,
    )


def _newest(series: Iterable[Any], now: float) -> float | None:
    points = [(point.timestamp, point.value) for point in series]
    if not points or now - max(points)[0] > FRESH_SECONDS:
        return None
    return float(max(points)[1])
