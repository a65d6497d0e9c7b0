"""Whether a rollout starts new engines before it stops old ones.

Serve's `max_surge_percent` 100 lets new engines start wherever there is room; without any spare GPU they would wait
for one that no old engine gives up, so then it is 0 and a rollout runs with one engine less.
"""

from __future__ import annotations

from collections.abc import Collection

from llm_router.settings import Surge

ROUNDING = 1e-6


def surge_percent(surge: Surge, gpus_per_engine: float, free: Collection[float]) -> int:
    """Return 100 or 0. `free` are the unreserved GPUs of each node."""
    if surge != "auto":
        return 100 if surge == "true" else 0
    fits = any(gpus + ROUNDING >= gpus_per_engine for gpus in free)
    return 100 if gpus_per_engine == 0 or fits else 0
