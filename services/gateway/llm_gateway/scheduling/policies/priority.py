"""Strict priority: key = p, the class's priority; the order of arrival breaks ties.

Purpose     Always serve urgent classes first, as vLLM's own scheduler does with `priority`.
Formula     Serve the smallest (p, t).
Inputs      Class priority, order of arrival.
Config      The classes' `priority`.
Trade-off   The most urgent class waits as little as possible without preemption. The least urgent class starves while
            the others saturate the engines.
Wait bound  None. `aging` and `composite` have one.
"""

from __future__ import annotations

from llm_gateway.scheduling.policies.ordering import KeyedPolicy
from llm_gateway.waiting import Waiting


class Priority(KeyedPolicy):
    """Strict priority of the class."""

    def key(self, request: Waiting) -> float:
        return request.cls.priority
