"""Names of the series that the monitor makes: about its targets, GPUs and itself. Times are seconds.

A series of a GPU has the labels `gpu`, its index, `uuid` and `name`. Series of the monitor about a target name it as
`target`, since `instance` is the monitor.
"""

from __future__ import annotations

from llm_contract.metrics import Metric

GPU = ("gpu", "uuid", "name")
TARGET = ("target",)
DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.08, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

UP = Metric("up", "gauge", "1 if the last scrape of the target succeeded, else 0.", ())
SCRAPE_DURATION = Metric("scrape_duration_seconds", "gauge", "Duration of the last scrape.", ())
SCRAPE_SAMPLES = Metric("scrape_samples_scraped", "gauge", "Samples on the target's page.", ())

SCRAPE_METRICS: tuple[Metric, ...] = (UP, SCRAPE_DURATION, SCRAPE_SAMPLES)
"""The report of each scrape about its target. The names are Prometheus's own."""

GPU_UTILIZATION = Metric("gpu_utilization_ratio", "gauge", "Share of time in which a kernel ran.", GPU)
GPU_MEMORY_USED = Metric("gpu_memory_used_bytes", "gauge", "Memory in use.", GPU)
GPU_MEMORY_TOTAL = Metric("gpu_memory_total_bytes", "gauge", "Memory there is.", GPU)
GPU_POWER = Metric("gpu_power_watts", "gauge", "Power drawn.", GPU)
GPU_TEMPERATURE = Metric("gpu_temperature_celsius", "gauge", "Temperature of the chip.", GPU)
GPU_SM_CLOCK = Metric("gpu_sm_clock_hertz", "gauge", "Clock of the streaming multiprocessors.", GPU)
GPU_XID_ERRORS = Metric(
    "gpu_xid_errors_total", "counter", "Errors that the driver reported, by XID number.", (*GPU, "xid")
)

GPU_METRICS: tuple[Metric, ...] = (
    GPU_UTILIZATION,
    GPU_MEMORY_USED,
    GPU_MEMORY_TOTAL,
    GPU_POWER,
    GPU_TEMPERATURE,
    GPU_SM_CLOCK,
    GPU_XID_ERRORS,
)

SCRAPE_OUTCOMES = ("ok", "timeout", "connect", "status", "size", "garbage")
SCRAPES = Metric(
    "monitor_scrapes_total",
    "counter",
    "Scrapes by how they ended: ok, timeout, connect, status, size (the page was too long), garbage.",
    ("outcome",),
)
CYCLE_SECONDS = Metric(
    "monitor_cycle_seconds",
    "histogram",
    "From a cycle's start until all targets answered, or the cycle did not wait longer.",
    (),
    DURATION_BUCKETS,
)
CYCLES_SKIPPED = Metric(
    "monitor_cycles_skipped_total", "counter", "Cycles that did not take place, since the one before took too long.", ()
)
SERIES = Metric("monitor_series", "gauge", "Series in memory.", ())
SERIES_DROPPED = Metric(
    "monitor_series_dropped_total",
    "counter",
    "Series that were refused, since the target or all have too many.",
    TARGET,
)
GARBAGE_LINES = Metric(
    "monitor_garbage_lines_total", "counter", "Lines of the target's pages that were no samples.", TARGET
)
CLOCK_SKEW = Metric(
    "monitor_target_clock_skew_seconds",
    "gauge",
    "Time that the target's clock is ahead, as far as its Date header tells, which counts whole seconds.",
    TARGET,
)
DISCOVERY_FAILURES = Metric(
    "monitor_discovery_failures_total", "counter", "Failed look-ups of targets; the last known ones stay.", ("source",)
)
HISTORY_BYTES = Metric("monitor_history_bytes", "gauge", "Size of the history on disk.", ())
HISTORY_WRITABLE = Metric(
    "monitor_history_writable", "gauge", "0 while the history cannot be written, such as when the disk is full.", ()
)
HISTORY_WRITE_SECONDS = Metric(
    "monitor_history_write_seconds", "histogram", "One second's samples to the history.", (), DURATION_BUCKETS
)
QUERY_SECONDS = Metric("monitor_query_seconds", "histogram", "Evaluation of a query.", ("kind",), DURATION_BUCKETS)
RULE_SECONDS = Metric("monitor_rule_evaluation_seconds", "histogram", "Evaluation of all rules.", (), DURATION_BUCKETS)
RULE_FAILURES = Metric("monitor_rule_failures_total", "counter", "Evaluations that failed, by rule.", ("rule",))
NOTIFICATIONS = Metric(
    "monitor_notifications_total", "counter", "Notifications by how they ended: ok, failed.", ("receiver", "outcome")
)
VIEWERS = Metric("monitor_viewers", "gauge", "Open live streams.", ())
VIEWERS_DROPPED = Metric("monitor_viewers_dropped_total", "counter", "Live streams that were too slow and cut off.", ())

MONITOR_METRICS: tuple[Metric, ...] = tuple(
    value
    for value in list(globals().values())
    if isinstance(value, Metric) and value not in SCRAPE_METRICS and value not in GPU_METRICS
)
"""Every metric about the monitor itself, in order."""
