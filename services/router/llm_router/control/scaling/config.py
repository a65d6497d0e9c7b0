"""Serve's `autoscaling_config` for a model."""

from __future__ import annotations

from typing import Any

from llm_router.control.names import AUTOSCALING_POLICY
from llm_router.settings import EnginesSettings

METRICS_SECONDS = 0.5
LOOK_BACK_SECONDS = 2.0


def autoscaling(settings: EnginesSettings) -> dict[str, Any]:
    """Return Serve's autoscaling_config. A fixed number is a range of one: changing it restarts nothing.

    An engine is stopped after `downscale_seconds`: half of it the peak of our policy counts, half of it Serve waits.
    """
    low, high = settings.bounds
    scaling = settings.autoscaling
    return {
        "min_replicas": low,
        "max_replicas": high,
        "target_ongoing_requests": scaling.target if scaling else settings.max_running,
        "metrics_interval_s": METRICS_SECONDS,
        "look_back_period_s": LOOK_BACK_SECONDS,
        "upscale_delay_s": 0,
        "downscale_delay_s": scaling.downscale_seconds / 2 if scaling else 0,
        "policy": {"policy_function": AUTOSCALING_POLICY},
    }
