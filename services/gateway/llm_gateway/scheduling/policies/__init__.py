"""Ordering policies: the order in which waiting requests are served. Each is one file; its docstring is its page.

    fcfs        first come, first served
    priority    strict priority of the class
    aging       priority that grows with the wait
    edf         earliest deadline first
    sjf         shortest predicted job first
    vtc         least served tenant first
    composite   aging between classes, vtc between tenants, edf within a tenant: the default

`ordering` defines the interface of a policy; `lazy_heap` and `fair_queue` are its building blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from llm_gateway.classes import PriorityClass
from llm_gateway.scheduling.policies.aging import Aging
from llm_gateway.scheduling.policies.composite import Composite
from llm_gateway.scheduling.policies.edf import Edf
from llm_gateway.scheduling.policies.fcfs import Fcfs
from llm_gateway.scheduling.policies.ordering import Lane, OrderingPolicy
from llm_gateway.scheduling.policies.priority import Priority
from llm_gateway.scheduling.policies.sjf import Sjf
from llm_gateway.scheduling.policies.vtc import Vtc

PolicyName = Literal["fcfs", "priority", "aging", "edf", "sjf", "vtc", "composite"]
POLICY_NAMES: tuple[PolicyName, ...] = get_args(PolicyName)


def make_policy(
    name: PolicyName, classes: Iterable[PriorityClass], *, aging_rate: float, fairness_window: float
) -> OrderingPolicy:
    """Return the policy. `aging_rate` is in priority levels per second, `fairness_window` in seconds."""
    if name == "fcfs":
        return Fcfs(fairness_window)
    if name == "edf":
        return Edf(fairness_window)
    if name == "priority":
        return Priority()
    if name == "sjf":
        return Sjf()
    if name == "vtc":
        return Vtc()
    aging = Aging(aging_rate, min(cls.priority for cls in classes), fairness_window)
    return aging if name == "aging" else Composite(aging)


__all__ = [
    "POLICY_NAMES",
    "Aging",
    "Composite",
    "Edf",
    "Fcfs",
    "Lane",
    "OrderingPolicy",
    "PolicyName",
    "Priority",
    "Sjf",
    "Vtc",
    "make_policy",
]
