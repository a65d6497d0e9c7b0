"""Strict priority: key = p, the class's priority; arrival breaks the tie.

Purpose     urgent classes first, always; what vLLM's own scheduler does with `priority`.
Formula     serve the smallest (p, t).
Inputs      class priority, arrival order.
Config      the classes' `priority`.
Trade-off   the least delay for the most urgent class that any order gives without stopping what runs; the least urgent
            one starves for as long as the others saturate the engines.
Wait bound  none. `aging` and `composite` have one.
"""

from __future__ import annotations

from llm_gateway.scheduling.policies.ordering import KeyedPolicy
from llm_gateway.waiting import Waiting


class Priority(KeyedPolicy):
    def key(self, request: Waiting) -> float:
        return request.cls.priority
